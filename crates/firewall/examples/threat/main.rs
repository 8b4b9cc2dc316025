//! Threat lists as a host program handles them: on disk, by deltas, in the kernel of the network namespace
//! in which it runs. Measurements and tests start it as a program of its own.
//!
//! | arguments | does | prints |
//! |---|---|---|
//! | `compile TEXT LIST` | writes a plain list as a host keeps it on its disk | entries |
//! | `pack LIST SNAPSHOT`, `delta OLD NEW DELTA` | writes what travels | bytes |
//! | `unpack SNAPSHOT LIST` | writes what came as a host keeps it | entries |
//! | `load LIST` | puts a list in force | [`Spent`] |
//! | `change OLD DELTA NEW` | reads a delta, changes the kernel's list by it, writes the new one | [`Spent`] |
//! | `swap LIST DELTA LIST DELTA COUNT` | as many changes in a row, there and back | [`Spent`] |
//! | `mode block`, `mode event-only` | changes what becomes of matches | `ok` |
//! | `verify LIST` | compares the kernel's list with one | `ok` |

#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod kernel;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::path::Path;

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match words[..] {
        ["compile", text, list] => files::compile(text.as_ref(), list.as_ref())?.to_string(),
        ["pack", list, snapshot] => files::pack(list.as_ref(), snapshot.as_ref())?.to_string(),
        ["unpack", snapshot, list] => files::unpack(snapshot.as_ref(), list.as_ref())?.to_string(),
        ["delta", old, new, delta] => {
            files::delta(old.as_ref(), new.as_ref(), delta.as_ref())?.to_string()
        }
        ["load", list] => kernel::load(list.as_ref())?.to_string(),
        ["change", old, delta, new] => {
            kernel::change(old.as_ref(), delta.as_ref(), new.as_ref())?.to_string()
        }
        ["swap", list, delta, other, back, count] => {
            let turns = [(list, delta), (other, back)].map(|(a, b)| (Path::new(a), Path::new(b)));
            kernel::swap(turns, count.parse()?)?.to_string()
        }
        ["mode", mode] => kernel::set_mode(mode)?.to_owned(),
        ["verify", list] => kernel::verify(list.as_ref())?.to_owned(),
        _ => return Err(format!("not a command: {}", words.join(" ")).into()),
    };
    println!("{answer}");
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("there is no threat table in this system's firewall");
}

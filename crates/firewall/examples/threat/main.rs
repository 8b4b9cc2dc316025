//! Handles threat lists like a host program: on disk, by deltas, in the kernel of its network namespace.
//! Measurements and tests run it as a separate process.
//!
//! | arguments | does | prints |
//! |---|---|---|
//! | `compile TEXT LIST` | converts a plain list to the format of a host's disk | entries |
//! | `pack LIST SNAPSHOT`, `delta OLD NEW DELTA` | encodes a list or change for transfer | bytes |
//! | `unpack SNAPSHOT LIST` | converts a transferred list to the format of a host's disk | entries |
//! | `load LIST` | puts a list in force | [`Spent`] |
//! | `change OLD DELTA NEW` | reads a delta, applies it to the kernel's list, saves the new list | [`Spent`] |
//! | `swap LIST DELTA LIST DELTA COUNT` | that many changes in a row, back and forth | [`Spent`] |
//! | `mode block`, `mode event-only` | changes the mode | `ok` |
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

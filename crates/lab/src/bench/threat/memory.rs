//! The kernel's memory per address, in every kind of set.

use anyhow::{Context, Result};

use super::contestants::{Contestant, Forms, clear, settled_kib};
use super::{BenchContext, Driver, MILLION, lists, shown};
use crate::bench::Effort;
use crate::bench::firewall::lab_with_client;
use crate::figure::{Figure, median};
use crate::host::Host;

/// Interval sets take too long for more.
const FEW: usize = 100_000;

/// The declaration of an nftables set, the kernel's implementation, and the form of an element.
struct Kind {
    name: &'static str,
    declaration: &'static str,
    behind: &'static str,
    count: usize,
}

const KINDS: [Kind; 7] = [
    hash("nft hash, size (one probe)", "type ipv4_addr; size 1000000", ""),
    hash("nft rhash, no size (one probe)", "type ipv4_addr", ""),
    hash("nft rhash, dynamic (one probe)", "type ipv4_addr; flags dynamic; size 1000000", ""),
    hash(
        "nft rhash, timeout (one probe)",
        "type ipv4_addr; flags timeout; size 1000000",
        " timeout 1d",
    ),
    hash(
        "nft hash of address . port (one probe)",
        "type ipv4_addr . inet_service; size 1000000",
        " . 1",
    ),
    Kind {
        name: "nft rbtree, 100,000",
        declaration: "type ipv4_addr; flags interval",
        behind: "",
        count: FEW,
    },
    Kind {
        name: "nft pipapo, 100,000",
        declaration: "type ipv4_addr . inet_service; flags interval",
        behind: " . 1-2",
        count: FEW,
    },
];

const fn hash(name: &'static str, declaration: &'static str, behind: &'static str) -> Kind {
    Kind { name, declaration, behind, count: MILLION as usize }
}

type Step<'a> = &'a dyn Fn() -> Result<()>;

pub(super) fn run(bench: &BenchContext<'_>) -> Result<()> {
    let mut lab = lab_with_client()?;
    let host = lab.add_host("server", 12)?;
    let addresses = lists::random(MILLION);
    let forms = Forms::write(bench.driver, host, &addresses)?;
    let rounds = match bench.effort {
        Effort::Full => 5,
        Effort::Quick => 1,
    };
    let measure = |empty: Step<'_>, load: Step<'_>, count: usize| -> Result<f64> {
        let each =
            (0..rounds).map(|_| bytes_each(host, [empty, load], count)).collect::<Result<_>>()?;
        median(each).context("nothing was measured")
    };
    let one = lists::file(host, "one.txt", "192.0.2.1\n")?;
    let driver = Driver { program: bench.driver, host };
    let one = driver.compile(&one)?;
    // Everything around the list exists before as after: chains, and the sets in which matches are counted.
    let empty = || driver.ask(["load", shown(&one)?]).map(drop);
    let load = || forms.load(Contestant::Xshield, bench.driver, host).map(drop);
    let ours = measure(&empty, &load, addresses.len())?;
    let nothing = || Ok(());
    let figure = || Figure::new("threat.kernel_bytes_per_address", ours, "bytes");
    for kind in KINDS {
        let elements = addresses.iter().take(kind.count);
        let elements: Vec<String> = elements.map(|a| format!("{a}{}", kind.behind)).collect();
        let text = lists::nft(kind.declaration, false, &elements);
        let file = lists::file(host, "kind.nft", &text)?;
        let load = || host.run("nft", ["-f".as_ref(), file.as_os_str()]).map(drop);
        figure().beside(kind.name, measure(&nothing, &load, kind.count)?).print();
    }
    let load = || forms.load(Contestant::Ipset, bench.driver, host).map(drop);
    figure().beside("ipset hash:ip", measure(&nothing, &load, addresses.len())?).print();
    Ok(())
}

fn bytes_each(host: &Host, [empty, load]: [Step<'_>; 2], count: usize) -> Result<f64> {
    clear(host)?;
    empty()?;
    let before = settled_kib()?;
    load()?;
    #[allow(clippy::cast_precision_loss, reason = "a million is far below 2^52")]
    Ok((settled_kib()? - before) * 1024.0 / count as f64)
}

//! The allowed dependencies between packages. They are the architecture; adding one is a deliberate decision.

use anyhow::{Result, bail};

use crate::cycles;
use crate::metadata::{self, Kind, Metadata, Package};

#[derive(Debug, clap::Args)]
pub(crate) struct LayersArgs {
    /// Print the dependencies between files that form this package's cycles instead.
    #[arg(long, value_name = "PACKAGE")]
    cycles: Option<String>,
}

pub(crate) fn run(args: &LayersArgs) -> Result<()> {
    let metadata = metadata::read()?;
    match &args.cycles {
        Some(package) => cycles::print_cycles(&metadata, package),
        None => check(&metadata),
    }
}

/// The allowed dependencies of a package, and why there are no others.
struct Layer {
    package: &'static str,
    may_use: &'static [&'static str],
    because: &'static str,
}

/// Everything that host programs consist of.
const HOST_SIDE: &[&str] = &[
    "xshield-policy",
    "xshield-threat",
    "xshield-wire",
    "xshield-firewall",
    "xshield-host",
    "xshield-transport",
];

const LAYERS: &[Layer] = &[
    Layer {
        package: "xshield-policy",
        may_use: &[],
        because: "policy is pure: platform, hosts and tests must judge a packet by the same code",
    },
    Layer {
        package: "xshield-threat",
        may_use: &[],
        because: "threat is pure: feeds, set and codec don't depend on their users",
    },
    Layer {
        package: "xshield-wire",
        may_use: &["xshield-policy", "xshield-threat"],
        because: "wire carries domain types and nothing else",
    },
    Layer {
        package: "xshield-firewall",
        may_use: &["xshield-policy", "xshield-threat"],
        because: "firewall handles rulesets, not where they come from",
    },
    Layer {
        package: "xshield-host",
        may_use: &["xshield-wire", "xshield-policy"],
        because: "host gathers facts; it decides and enforces nothing",
    },
    Layer {
        package: "xshield-transport",
        may_use: &["xshield-wire", "xshield-policy"],
        because: "transport transfers bytes; it doesn't interpret rulesets",
    },
    Layer {
        package: "xshield-enforce",
        may_use: HOST_SIDE,
        because: "enforce is the host's cycle; it must not depend on the platform or the \
             programs around it",
    },
    Layer {
        package: "ctspark",
        may_use: &["xshield-enforce"],
        because: "spark is the cycle run once; what it needs belongs in enforce",
    },
    Layer {
        package: "ctagent",
        may_use: &["xshield-enforce"],
        because: "agent is the resident form of the cycle; what it needs belongs in enforce",
    },
    Layer {
        package: "xshield-model",
        may_use: &["xshield-policy", "xshield-threat", "xshield-wire"],
        because: "model contains the values shared by database, API and jobs; it depends on none \
             of them",
    },
    Layer {
        package: "xshield-api",
        may_use: &["xshield-model", "xshield-policy", "xshield-threat", "xshield-wire"],
        because: "api is the protocol between the platform and its clients; it depends on neither",
    },
    Layer {
        package: "xshield-store",
        may_use: &["xshield-model", "xshield-policy", "xshield-threat", "xshield-wire"],
        because: "store contains rows; authorization and effects of changes are decided above it",
    },
    Layer {
        package: "xshield-cli",
        may_use: &["xshield-api", "xshield-policy", "xshield-threat", "xshield-wire"],
        because: "the command line can do what an API token can: it uses the API's types, parses \
             policy and access logs itself, and nothing behind the API",
    },
    Layer {
        package: "xshield-http-client",
        may_use: &[],
        because: "the HTTP client makes restricted requests; their purpose is decided above",
    },
    Layer {
        package: "xshield-intelligence",
        may_use: &[
            "xshield-model",
            "xshield-http-client",
            "xshield-policy",
            "xshield-store",
            "xshield-threat",
            "xshield-wire",
        ],
        because: "intelligence compiles the threat list; who may change feeds and when jobs run \
             is decided above",
    },
    Layer {
        package: "xshield-alerting",
        may_use: &[
            "xshield-http-client",
            "xshield-model",
            "xshield-policy",
            "xshield-store",
            "xshield-threat",
            "xshield-wire",
        ],
        because: "alerting notifies people about data in the database; who may change rules and \
             channels is decided above",
    },
    Layer {
        package: "xshield-operations",
        may_use: &[
            "xshield-api",
            "xshield-model",
            "xshield-policy",
            "xshield-store",
            "xshield-threat",
            "xshield-wire",
        ],
        because: "operations implement what may be done and by whom; HTTP, HTML and jobs are \
             interfaces to them, and operations must not depend on these",
    },
    Layer {
        package: "xshield-server",
        may_use: &[
            "xshield-alerting",
            "xshield-api",
            "xshield-intelligence",
            "xshield-model",
            "xshield-operations",
            "xshield-policy",
            "xshield-store",
            "xshield-threat",
            "xshield-wire",
        ],
        because: "the server never touches a firewall; it runs where it manages nothing",
    },
    Layer {
        package: "xshield",
        may_use: &["xshield-cli", "xshield-server"],
        because: "the platform's program starts the server or is the command line; it never touches a firewall",
    },
    Layer {
        package: "xshield-lab",
        may_use: &[
            "xshield-policy",
            "xshield-wire",
            "xshield-enforce",
            "xshield-firewall",
            "xshield-wfp-double",
        ],
        because: "the lab drives the real binaries; of our own parts it takes the oracle, the protocol \
                  for hosts that are too many to be run, the names of the steps where its tests kill \
                  runs, and for Windows hosts the double of the filter engine with the model that \
                  judges packets",
    },
    Layer {
        package: "xshield-wfp-double",
        may_use: &["xshield-firewall", "xshield-policy", "xshield-host"],
        because: "the double of Windows' filter engine and event log is for tests: it has the engine's \
                  objects and the model that judges packets; what it is to test, only its tests use",
    },
    Layer {
        package: "xshield-fuzz",
        may_use: &[
            "xshield-policy",
            "xshield-threat",
            "xshield-wire",
            "xshield-firewall",
            "xshield-host",
            "xshield-server",
        ],
        because: "it runs the fuzz targets of crates that parse untrusted bytes; nothing depends \
                  on it",
    },
    Layer { package: "xtask", may_use: &[], because: "xtask is compiled before everything else" },
];

/// Tests of any crate may use the lab; it uses nothing that could depend on them.
const TESTS_MAY_USE: &str = "xshield-lab";

/// Whether a package may use another one directly or indirectly. Tests may also use indirect dependencies of
/// their crate, to check its effects.
fn reaches(layer: &Layer, used: &str) -> bool {
    let may_use = || LAYERS.iter().filter(|other| layer.may_use.contains(&other.package));
    layer.may_use.contains(&used) || may_use().any(|other| reaches(other, used))
}

/// Fails with every dependency that is not allowed, with the reason.
pub(crate) fn check(metadata: &Metadata) -> Result<()> {
    let names: Vec<&str> = metadata.ours().map(|package| package.name.as_str()).collect();
    let wrong: Vec<String> =
        metadata.ours().flat_map(|package| forbidden(package, &names)).collect();
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    println!("layers: {} packages, every dependency allowed", names.len());
    cycles::check(metadata)
}

fn forbidden(package: &Package, ours: &[&str]) -> Vec<String> {
    let Some(layer) = LAYERS.iter().find(|layer| layer.package == package.name) else {
        return vec![format!(
            "{} has no layer: add to xtask/src/layers.rs what it may use and why",
            package.name
        )];
    };
    let used = package.dependencies.iter().filter(|used| ours.contains(&used.name.as_str()));
    used.filter(|used| !layer.may_use.contains(&used.name.as_str()))
        .filter(|used| {
            let is_named_by_tests = used.name == TESTS_MAY_USE || reaches(layer, &used.name);
            !(used.kind == Kind::Dev && is_named_by_tests)
        })
        .map(|used| {
            let allowed = match layer.may_use {
                [] => "nothing of ours".to_owned(),
                names => names.join(", "),
            };
            format!(
                "{} must not use {} (it may use {allowed}): {}",
                package.name, used.name, layer.because
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Dependency;

    fn check_one(name: &str, used: &str, kind: Kind) -> Vec<String> {
        let package = Package {
            name: name.to_owned(),
            dependencies: vec![Dependency { name: used.to_owned(), kind }],
            roots: Vec::new(),
        };
        forbidden(&package, &["xshield-firewall", "xshield-policy", "xshield-lab"])
    }

    #[test]
    fn forbidden_dependencies_are_refused_with_the_reason() {
        for (from, to, kind, complaint) in [
            ("xshield-firewall", "xshield-policy", Kind::Shipped, None),
            ("xshield-firewall", "serde", Kind::Shipped, None),
            ("xshield-firewall", "xshield-lab", Kind::Dev, None),
            ("xshield-firewall", "xshield-lab", Kind::Shipped, Some("not where they come from")),
            ("xshield", "xshield-firewall", Kind::Shipped, Some("never touches a firewall")),
            ("xshield", "xshield-firewall", Kind::Dev, Some("never touches a firewall")),
            ("xshield", "xshield-policy", Kind::Shipped, Some("never touches a firewall")),
            ("xshield", "xshield-policy", Kind::Dev, None),
            ("xshield-new", "serde", Kind::Shipped, Some("has no layer")),
        ] {
            let found = check_one(from, to, kind);
            match complaint {
                None => assert!(found.is_empty(), "{from} -> {to}: {found:?}"),
                Some(text) => {
                    assert!(
                        found.len() == 1 && found[0].contains(text),
                        "{from} -> {to}: {found:?}"
                    );
                }
            }
        }
    }
}

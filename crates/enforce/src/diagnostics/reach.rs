//! Whether platform, proxies and DNS servers can be reached from this host, tested separately.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use xshield_host::resolver::Resolver;
use xshield_transport::{Route, Timeouts};
use xshield_wire::message::Program;

use crate::config::Config;
use crate::connect;
use crate::problems::chain;
use crate::resolve::HostResolver;
use crate::run::Run;

/// The timeout of each test.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The port of DNS (RFC 1035); over TCP, since no answer over UDP would prove nothing.
const DNS: u16 = 53;

/// One line for each; all are tested at the same time.
pub(crate) fn reachability(run: &Run<'_>) -> String {
    let (config, program, resolver) = (run.config, run.program, run.resolver);
    let proxies = config.proxies.as_slice().iter();
    let routes: Vec<Route> =
        proxies.map(|proxy| Route::Proxy(proxy.address.clone())).chain([Route::Direct]).collect();
    let servers = run.environment.os.name_servers();
    let name = config.platform.endpoint().name().map(str::to_owned);
    std::thread::scope(|scope| {
        let mut asked = Vec::new();
        for route in routes {
            asked.push((
                format!("platform, {route}"),
                scope.spawn(move || platform(config, program, resolver, route)),
            ));
        }
        for server in servers {
            asked.push((format!("DNS server {server}, TCP"), scope.spawn(move || connect(server))));
        }
        if let Some(name) = name {
            let what = format!("name {name}");
            asked.push((what, scope.spawn(move || resolve(resolver, &name))));
        }
        let mut text = String::new();
        for (what, thread) in asked {
            let said = thread.join().unwrap_or_else(|_| Err("the test itself failed".to_owned()));
            let _ = match said {
                Ok(how) => writeln!(text, "reached      {what}: {how}"),
                Err(why) => writeln!(text, "not reached  {what}: {why}"),
            };
        }
        text
    })
}

fn platform(
    config: &Config,
    program: &Program,
    resolver: &Resolver,
    route: Route,
) -> Result<String, String> {
    let timeouts = Timeouts { probe: TIMEOUT, ..Timeouts::default() };
    let resolver = HostResolver::of_a_run(resolver);
    let transport = connect::transport(config, program, resolver, Some(route), timeouts)
        .map_err(|error| chain(&error))?;
    let began = Instant::now();
    transport.probe().map_err(|error| chain(&error))?;
    Ok(took(began))
}

fn connect(server: IpAddr) -> Result<String, String> {
    let began = Instant::now();
    let address = SocketAddr::new(server, DNS);
    TcpStream::connect_timeout(&address, TIMEOUT).map_err(|error| error.to_string())?;
    Ok(took(began))
}

fn resolve(resolver: &Resolver, name: &str) -> Result<String, String> {
    let began = Instant::now();
    let found = resolver.resolve_host(name).map_err(|error| chain(&error))?;
    Ok(format!("{found:?}, {}", took(began)))
}

fn took(began: Instant) -> String {
    format!("{} ms", began.elapsed().as_millis())
}

//! Addresses that are added and removed.

use std::time::Duration;

use xshield_host::linux::addresses::AddressWatch;

use crate::world::{in_own_network, run};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn an_address_change_is_reported_once() {
    in_own_network(|| {
        run(
            "sh",
            &["-ec", "ip link add d0 type veth peer name d1; ip link set d1 up; ip link set d0 up"],
        );
        let mut watch = AddressWatch::open().unwrap();
        let mut told = |change: &str| {
            run("sh", &["-ec", change]);
            let addresses = watch.wait(SOON).unwrap();
            addresses.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let words = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(told("ip addr add 10.9.0.1/24 dev d0"), words(&["10.9.0.1"]));
        // A temporary address is added.
        let both = words(&["10.9.0.1", "2001:db8::9"]);
        assert_eq!(
            told("ip addr add 2001:db8::9/64 dev d0 nodad valid_lft 900 preferred_lft 600"),
            both
        );
        // As router advertisements do all the time.
        let confirmed = "ip addr change 2001:db8::9/64 dev d0 valid_lft 901 preferred_lft 601";
        assert_eq!(told(confirmed), None, "only confirmed");
        let there_and_back = "ip addr add 10.9.0.7/24 dev d0; ip addr del 10.9.0.7/24 dev d0";
        assert_eq!(told(there_and_back), None, "as before");
        assert_eq!(told("ip addr add fe80::7/64 dev d0 nodad"), None, "no address of the host");
        assert_eq!(told("ip addr del 10.9.0.1/24 dev d0"), words(&["2001:db8::9"]));
    });
}

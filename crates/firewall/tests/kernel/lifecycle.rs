//! Applying, keeping, reverting, reading back, damage.

use std::time::Duration;

use xshield_firewall::{Firewall, KernelState, plan};

use crate::policies::varied;
use crate::world::{in_namespace, nft_list, nft_objects, sh};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn what_is_applied_is_read_back_and_nft_agrees() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        println!("{:?}", firewall.capabilities());
        assert_eq!(firewall.state().unwrap(), KernelState::Absent);
        let plan = plan(&varied(1), firewall.capabilities());
        println!("{plan}");
        let trial = firewall.try_apply(&plan, MINUTE).unwrap();
        println!("{}", nft_list());
        let programmed = firewall.keep(trial).unwrap();
        let drift = programmed.differences(&plan);
        assert!(drift.is_empty(), "{drift:#?}");
        assert_eq!(programmed.digest, plan.digest());
        println!("{}", nft_objects("set").len());
        sh("true");
    });
}

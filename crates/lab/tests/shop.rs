//! The shop example: its table and its policy agree.

use anyhow::Result;
use xshield_lab::example::Example;
use xshield_lab::matrix::Matrix;
use xshield_lab::oracle::Oracle;
use xshield_lab::privilege::in_lab;
use xshield_lab::probe::ProbeResult;
use xshield_lab::shop;

#[test]
fn the_expected_table_matches_the_policy() -> Result<()> {
    in_lab("the_expected_table_matches_the_policy", || {
        let example = Example::shop()?;
        let lab = shop::lab(&example)?;
        let oracle = Oracle::new(&lab, &example.policy, &example.described(), shop::SERVICES, &[])?;
        let names = example.host_names();
        let matrix = Matrix::of(&names, &shop::ports(), |flow| oracle.expect(flow));
        let mut disagreements = Vec::new();
        for flow in matrix.flows() {
            let expected = oracle.expect(flow);
            if example.table.passes(flow) != (expected.outcome == ProbeResult::Passed) {
                disagreements.push(format!("{flow:?}: the policy says {expected:?}"));
            }
        }
        assert!(matrix.len() > 200, "only {} cells", matrix.len());
        assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
        Ok(())
    })
}

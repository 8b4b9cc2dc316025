//! The name of a new asset.

use xshield_policy::names::Name;
use xshield_store::{Conn, assets};

use crate::error::{Doing as _, OperationError, Result};
use crate::parsed_policies::Policies;

/// The maximum length of a name.
const MOST_LETTERS: usize = 64;
/// The maximum number of names to try.
const MOST_TRIED: u32 = 10_000;

/// The name of the asset for a new host that calls itself `claimed`, which is no asset's. A name that a
/// policy refers to is not given on a host's claim: the asset gets another name until an operator decides.
///
/// # Errors
/// When the database fails, or no name is free.
pub async fn free_name(conn: &mut Conn, claimed: &Name, policies: &Policies) -> Result<Name> {
    let is_spoken_of = |name: &Name| policies.all().iter().any(|policy| policy.names_asset(name));
    if !is_spoken_of(claimed) {
        return Ok(claimed.clone());
    }
    for number in 2..MOST_TRIED {
        let candidate = numbered(claimed, number)?;
        if !is_spoken_of(&candidate) && assets::by_name(conn, candidate.as_str()).await?.is_none() {
            return Ok(candidate);
        }
    }
    Err(OperationError::conflict("no-name-free", format!("no name like {claimed} is free")))
}

/// The name with a number, within the maximum length.
fn numbered(name: &Name, number: u32) -> Result<Name> {
    let end = format!("-{number}");
    let kept: String = name.as_str().chars().take(MOST_LETTERS - end.len()).collect();
    format!("{kept}{end}").parse::<Name>().doing("number a name")
}

//! From documents to the committed policy.
//!
//! | step | module |
//! |---|---|
//! | documents are parsed, with the location of each error | [`documents`] |
//! | they become the candidate; revisions and their differences | [`candidate`] |
//! | the result of committing, without committing | [`simulate`], queued by [`simulations`] |
//! | its impact on assets, and whether the caller expects it | [`impact`] |
//! | the candidate becomes the committed policy | [`synchronize`] |

pub mod candidate;
pub mod documents;
pub mod impact;
pub mod restore;
pub mod simulate;
pub mod simulations;
pub mod stored;
pub mod synchronize;
#[cfg(test)]
mod tests;

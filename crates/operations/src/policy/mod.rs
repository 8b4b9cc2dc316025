//! From documents to the committed policy.
//!
//! | step | module |
//! |---|---|
//! | documents are read, each error with its place | [`documents`] |
//! | they become the candidate; revisions and what differs between them | [`candidate`] |
//! | what committing would come to, without committing | [`simulate`], in turns of [`simulations`] |
//! | what that does to assets, and whether the caller expects it | [`impact`] |
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

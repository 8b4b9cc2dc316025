//! Which packets reach a chain that translates addresses: arriving ones, or the host's own.

use std::collections::{HashMap, HashSet};

use super::super::netlink::{Attributes, Message, be32, text};
use super::translations::Traffic;

/// linux/netfilter/nf_tables.h: `NFT_MSG_NEWCHAIN`, and `NFTA_CHAIN_TABLE`, `…_NAME`, `…_HOOK`.
const NEW_CHAIN: u16 = 10 << 8 | 3;
const TABLE: u16 = 1;
const NAME: u16 = 3;
const HOOK: u16 = 4;
/// `NFTA_HOOK_HOOKNUM`; `NF_INET_PRE_ROUTING` and `NF_INET_LOCAL_OUT`.
const HOOK_NUMBER: u16 = 1;
const PRE_ROUTING: u32 = 0;
const LOCAL_OUT: u32 = 3;

/// A chain by family, table and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ChainName {
    pub(super) family: u8,
    pub(super) table: String,
    pub(super) chain: String,
}

/// Chains and their jumps.
#[derive(Debug, Default)]
pub(super) struct Chains {
    bases: Vec<(ChainName, Traffic)>,
    jumps: HashMap<ChainName, Vec<ChainName>>,
}

impl Chains {
    /// Adds a chain of the kernel's list.
    pub(super) fn chain(&mut self, message: &Message<'_>) {
        let base = || {
            let (family, _, attributes) = message.netfilter()?;
            let hook = Attributes(attributes.get(HOOK)?);
            let traffic = match be32(hook.get(HOOK_NUMBER)?)? {
                PRE_ROUTING => Traffic::Arriving,
                LOCAL_OUT => Traffic::Own,
                _ => return None,
            };
            let name = |kind| Some(text(attributes.get(kind)?)?.to_owned());
            Some((ChainName { family, table: name(TABLE)?, chain: name(NAME)? }, traffic))
        };
        if message.kind == NEW_CHAIN {
            self.bases.extend(base());
        }
    }

    /// Adds a jump from a rule of a chain to another chain of its table.
    pub(super) fn jump(&mut self, from: &ChainName, to: &str) {
        let to = ChainName { chain: to.to_owned(), ..from.clone() };
        self.jumps.entry(from.clone()).or_default().push(to);
    }

    /// Whose packets reach each chain. A chain without a known jump is missing, since maps can jump to
    /// chains, too.
    pub(super) fn reached(&self) -> HashMap<ChainName, HashSet<Traffic>> {
        let mut reached: HashMap<ChainName, HashSet<Traffic>> = HashMap::new();
        let mut waiting = self.bases.clone();
        while let Some((chain, traffic)) = waiting.pop() {
            if reached.entry(chain.clone()).or_default().insert(traffic) {
                let next = self.jumps.get(&chain).into_iter().flatten();
                waiting.extend(next.map(|next| (next.clone(), traffic)));
            }
        }
        reached
    }
}

//! The grace of each domain, from all settings of a policy.

use std::collections::{BTreeMap, BTreeSet};

use super::CompileWarning;
use crate::document::Policy;
use crate::grace::{Grace, Span};
use crate::names::DomainName;

/// The graces of a policy's domains.
#[derive(Debug, Default)]
pub(super) struct Graces {
    /// For domains without a setting.
    default: Grace,
    said: BTreeMap<DomainName, Said>,
}

/// All settings of one domain.
#[derive(Debug, Default)]
struct Said {
    spans: BTreeSet<Span>,
    while_connected: BTreeSet<bool>,
}

impl Graces {
    pub(super) fn of(policy: &Policy) -> Self {
        let settings = &policy.settings;
        let span = settings.domain_grace.unwrap_or(Grace::DEFAULT.span);
        let mut graces = Self { default: Grace { span, ..Grace::DEFAULT }, said: BTreeMap::new() };
        for network in policy.networks.values() {
            for domain in &network.domains {
                graces.note(domain, network.grace, network.while_connected);
            }
        }
        for setting in &settings.domains {
            graces.note(&setting.name, setting.grace, setting.while_connected);
        }
        graces
    }

    fn note(&mut self, domain: &DomainName, span: Option<Span>, while_connected: Option<bool>) {
        if span.is_none() && while_connected.is_none() {
            return;
        }
        let said = self.said.entry(domain.clone()).or_default();
        said.spans.extend(span);
        said.while_connected.extend(while_connected);
    }

    /// Of several settings, the one with which addresses leave sooner.
    fn grace(&self, domain: &DomainName) -> Grace {
        let said = self.said.get(domain);
        let span = said.and_then(|said| said.spans.first().copied());
        let while_connected = said.and_then(|said| said.while_connected.first().copied());
        Grace {
            span: span.unwrap_or(self.default.span),
            while_connected: while_connected.unwrap_or(self.default.while_connected),
        }
    }

    /// The graces of these domains that differ from the default.
    pub(super) fn of_domains<'a>(
        &self,
        domains: impl IntoIterator<Item = &'a DomainName>,
    ) -> BTreeMap<DomainName, Grace> {
        let graces = domains.into_iter().map(|domain| (domain.clone(), self.grace(domain)));
        graces.filter(|(_, grace)| *grace != Grace::DEFAULT).collect()
    }

    /// Domains with contradictory settings.
    pub(super) fn warnings(&self) -> impl Iterator<Item = CompileWarning> {
        self.said.iter().filter_map(|(domain, said)| {
            let differ = said.spans.len() > 1 || said.while_connected.len() > 1;
            let counts = self.grace(domain);
            differ.then(|| CompileWarning::GracesDiffer { domain: domain.clone(), counts })
        })
    }
}

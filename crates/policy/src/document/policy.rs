//! Checks documents against each other: every name must exist, and none may be given twice.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    AssetOverride, Document, DomainSetting, InboundRule, Located, Network, OutboundRule, Place,
    Segment, Settings, Template,
};
use crate::names::{Name, RuleId};
use crate::peer::PeerRef;
use crate::service::Services;

/// A checked policy, the input of [`crate::compile()`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    pub(crate) segments: BTreeMap<Name, Segment>,
    pub(crate) networks: BTreeMap<Name, Network>,
    pub(crate) templates: BTreeMap<Name, Template>,
    pub(crate) assets: BTreeMap<Name, AssetOverride>,
    pub(crate) settings: Settings,
}

/// An error in a set of documents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{}{field}: {reason}", .place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
pub struct PolicyError {
    /// The index of the document, from 0.
    pub document: usize,
    /// The field, e.g. `template web-tier, inbound[0].from[1]`.
    pub field: String,
    /// The reason, and what was expected.
    pub reason: String,
    /// The position, if known: `file:line:column`.
    pub place: Option<String>,
}

impl Policy {
    /// Checks the documents against each other.
    ///
    /// # Errors
    /// All errors, not only the first.
    pub fn build(documents: Vec<Document>) -> Result<Self, Vec<PolicyError>> {
        let mut builder = Builder::default();
        for (index, document) in documents.iter().enumerate() {
            builder.index = index;
            builder.collect(document);
        }
        for (index, document) in documents.iter().enumerate() {
            builder.index = index;
            builder.check(document);
        }
        if builder.errors.is_empty() { Ok(builder.policy) } else { Err(builder.errors) }
    }

    /// The segments.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.values()
    }

    /// The named networks.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.networks.values()
    }

    /// The templates.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.templates.values()
    }

    /// Whether the policy names this asset: in an `asset` document, a peer `asset:NAME`, or criteria with
    /// `asset.name`.
    #[must_use]
    pub fn names_asset(&self, name: &Name) -> bool {
        self.assets.contains_key(name)
            || self.segments().any(|segment| segment.criteria.names_asset(name.as_str()))
            || self.asset_peers().any(|peer| peer == name)
    }

    /// The assets that rules name as peers.
    pub(crate) fn asset_peers(&self) -> impl Iterator<Item = &Name> {
        let peers = self.templates().flat_map(|template| {
            let inbound =
                template.ports.iter().chain(&template.inbound).flat_map(|rule| &rule.from);
            inbound.chain(template.outbound.iter().flat_map(|rule| &rule.to))
        });
        peers.filter_map(|peer| match &peer.value {
            PeerRef::Asset(name) => Some(name),
            _ => None,
        })
    }

    /// The settings; the default if there is no such document.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// Reserved names: hosts use them in labels for what no rule of a template decides.
const RESERVED: [&str; 2] = ["failsafe", "default"];

/// The id of a rule: its name, or its list and position.
pub(crate) fn rule_id(
    template: &Name,
    name: Option<&Located<Name>>,
    list: &str,
    index: usize,
) -> Result<RuleId, crate::names::NameError> {
    match name {
        Some(name) => RuleId::in_template(template, name.as_str()),
        None => RuleId::in_template(template, &format!("{list}-{}", index + 1)),
    }
}

/// The position of a rule: that of its name, or else of its template.
fn place_of<'a>(template: &'a Template, name: Option<&'a Located<Name>>) -> Option<&'a Place> {
    name.and_then(|name| name.place.as_ref()).or(template.name.place.as_ref())
}

#[derive(Default)]
struct Builder {
    policy: Policy,
    /// The document with the settings.
    settings_seen: Option<usize>,
    index: usize,
    errors: Vec<PolicyError>,
}

impl Builder {
    /// First pass: collects every document by name.
    fn collect(&mut self, document: &Document) {
        let taken = match document {
            Document::Segment(s) => self
                .policy
                .segments
                .insert(s.name.value.clone(), s.clone())
                .map(|first| ("segment", &s.name, first.name.place)),
            Document::Network(n) => self
                .policy
                .networks
                .insert(n.name.value.clone(), n.clone())
                .map(|first| ("network", &n.name, first.name.place)),
            Document::Template(t) => self
                .policy
                .templates
                .insert(t.name.value.clone(), t.clone())
                .map(|first| ("template", &t.name, first.name.place)),
            Document::Asset(a) => self
                .policy
                .assets
                .insert(a.name.value.clone(), a.clone())
                .map(|first| ("asset", &a.name, first.name.place)),
            Document::Settings(settings) => {
                if let Some(first) = self.settings_seen.replace(self.index) {
                    let reason =
                        format!("given twice; the first is document {} of the set", first + 1);
                    self.refuse("settings".to_owned(), reason, None);
                }
                self.policy.settings = settings.clone();
                None
            }
        };
        if let Some((kind, name, first)) = taken {
            let reason = match first {
                Some(first) => format!("given twice; the first is at {first}"),
                None => "given twice".to_owned(),
            };
            self.refuse(format!("{kind} {}", name.value), reason, name.place.clone());
        }
    }

    /// Second pass: checks every reference.
    fn check(&mut self, document: &Document) {
        match document {
            Document::Segment(segment) => {
                self.templates(&format!("segment {}", segment.name.value), &segment.templates);
            }
            Document::Asset(asset) => {
                self.templates(&format!("asset {}", asset.name.value), &asset.templates);
            }
            Document::Template(template) => self.template(template),
            Document::Network(network) => {
                if network.cidrs.is_empty() && network.domains.is_empty() {
                    let field = format!("network {}", network.name.value);
                    let reason = "names neither cidrs nor domains".to_owned();
                    self.refuse(field, reason, network.name.place.clone());
                }
                let speaks = network.grace.is_some() || network.while_connected.is_some();
                if speaks && network.domains.is_empty() {
                    let field = format!("network {}", network.name.value);
                    let reason = "grace and while-connected are for domains, and it names none";
                    self.refuse(field, reason.to_owned(), network.name.place.clone());
                }
            }
            Document::Settings(settings) => {
                self.domain_settings(&settings.domains);
                for (at, rule) in settings.management.iter().enumerate() {
                    let field = format!("settings, management[{at}]");
                    self.not_empty(&format!("{field}.from"), rule.from.is_empty(), None);
                    self.services(&field, &rule.services, None);
                }
            }
        }
    }

    fn domain_settings(&mut self, domains: &[DomainSetting]) {
        let mut seen = BTreeSet::new();
        for (at, DomainSetting { name, grace, while_connected }) in domains.iter().enumerate() {
            let field = format!("settings, domains[{at}]");
            if !seen.insert(&name.value) {
                let reason = format!("{} is given twice", name.value);
                self.refuse(field.clone(), reason, name.place.clone());
            }
            if grace.is_none() && while_connected.is_none() {
                let reason = "says neither grace nor while-connected".to_owned();
                self.refuse(field, reason, name.place.clone());
            }
        }
    }

    fn templates(&mut self, owner: &str, templates: &[Located<Name>]) {
        for (at, template) in templates.iter().enumerate() {
            if !self.policy.templates.contains_key(&template.value) {
                let reason = format!("there is no template {:?}", template.as_str());
                self.refuse(format!("{owner}, templates[{at}]"), reason, template.place.clone());
            }
        }
    }

    fn template(&mut self, template: &Template) {
        let owner = format!("template {}", template.name.value);
        let mut seen = BTreeMap::new();
        for (list, rules) in [("ports", &template.ports), ("inbound", &template.inbound)] {
            for (at, InboundRule { name, from, services, .. }) in rules.iter().enumerate() {
                let field = format!("{owner}, {list}[{at}]");
                let place = place_of(template, name.as_ref());
                self.rule(&field, from, "from", services, place);
                self.unique(&mut seen, template, name.as_ref(), list, at);
            }
        }
        for (at, OutboundRule { name, to, services, .. }) in template.outbound.iter().enumerate() {
            let field = format!("{owner}, outbound[{at}]");
            let place = place_of(template, name.as_ref());
            self.rule(&field, to, "to", services, place);
            self.unique(&mut seen, template, name.as_ref(), "outbound", at);
        }
        if RESERVED.contains(&template.name.as_str()) {
            let reason = "this name is reserved: hit counts use it for flows that no rule decides"
                .to_owned();
            self.refuse(owner.clone(), reason, template.name.place.clone());
        }
        if seen.is_empty() {
            let reason = "has no rules: expected ports, inbound or outbound".to_owned();
            self.refuse(owner, reason, template.name.place.clone());
        }
    }

    fn unique(
        &mut self,
        seen: &mut BTreeMap<RuleId, String>,
        template: &Template,
        name: Option<&Located<Name>>,
        list: &str,
        at: usize,
    ) {
        let field = format!("template {}, {list}[{at}].name", template.name.value);
        let place = name.and_then(|name| name.place.clone());
        match rule_id(&template.name, name, list, at) {
            Ok(id) => {
                if let Some(other) = seen.insert(id, field.clone()) {
                    self.refuse(field, format!("already the name of {other}"), place);
                }
            }
            Err(error) => self.refuse(field, error.to_string(), place),
        }
    }

    fn rule(
        &mut self,
        field: &str,
        peers: &[Located<PeerRef>],
        list: &str,
        services: &Services,
        place: Option<&Place>,
    ) {
        self.not_empty(&format!("{field}.{list}"), peers.is_empty(), place);
        // Next to peers, whose positions are known.
        let beside = peers.first().and_then(|peer| peer.place.as_ref());
        self.services(field, services, beside.or(place));
        for (at, peer) in peers.iter().enumerate() {
            let known = match &peer.value {
                PeerRef::Segment(name) => self.policy.segments.contains_key(name),
                PeerRef::Network(name) => self.policy.networks.contains_key(name),
                _ => true,
            };
            if !known {
                let reason = format!("there is no {}", peer.value.to_string().replace(':', " "));
                self.refuse(format!("{field}.{list}[{at}]"), reason, peer.place.clone());
            }
        }
    }

    fn services(&mut self, field: &str, services: &Services, place: Option<&Place>) {
        self.not_empty(&format!("{field}.services"), services.is_empty(), place);
    }

    /// Refuses an empty list, which could mean "everything" or "nothing".
    fn not_empty(&mut self, field: &str, empty: bool, place: Option<&Place>) {
        if empty {
            let reason = "empty: add an entry, or write 'any'".to_owned();
            self.refuse(field.to_owned(), reason, place.cloned());
        }
    }

    fn refuse(&mut self, field: String, reason: String, place: Option<Place>) {
        let place = place.map(|place| place.to_string());
        self.errors.push(PolicyError { document: self.index, field, reason, place });
    }
}

//! The ports of the threat list's part in the simulated world.

use super::*;

impl<M: Model> ThreatRecords for Running<M> {
    fn progress(&mut self) -> &mut ThreatProgress {
        &mut self.progress.threat
    }

    fn save_order(&mut self, order: &Verified<ThreatOrder>) -> Result<(), ThreatFailure> {
        self.write(Call::SaveOrder, |disk| disk.order = Some(order.clone()))
    }

    fn save_lists(&mut self, lists: &Lists) -> Result<(), ThreatFailure> {
        self.write(Call::SaveLists, |disk| disk.lists = lists.clone())
    }

    fn remove_other_lists(&mut self, lists: &Lists) {
        let kept: Vec<u64> = [&lists.current, &lists.prepared]
            .into_iter()
            .flatten()
            .map(|list| list.name.revision)
            .collect();
        self.world.set(|sim| sim.disk.files.retain(|revision| kept.contains(revision)));
    }

    fn has_list(&self, list: &KeptList) -> bool {
        self.world.0.borrow().disk.has(list)
    }

    fn elements(&self, list: &KeptList) -> Result<Elements, ThreatFailure> {
        if !self.has_list(list) {
            return Err(ThreatFailure::Unusable("the list's file is gone".into()));
        }
        Ok(Box::new(entries_of(list.name.revision).into_iter().map(Ok)))
    }

    fn remove_downloads(&mut self) {}
}

impl<M: Model> ThreatSource for Running<M> {
    fn was_reached(&self) -> bool {
        self.contact == Contact::Reached
    }

    fn trusted_keys(&self) -> Vec<PolicyPublicKey> {
        vec![pinned()]
    }

    fn order(&mut self) -> Result<Option<(Vec<u8>, AssetId)>, ThreatFailure> {
        self.fetch(Call::FetchOrder, |sim| {
            let wanted = sim.behaviour.order.unwrap_or_default();
            Ok(Some((ordered(wanted).to_bytes(), asset())))
        })
    }

    fn path(&mut self, from: Option<ListDigest>) -> Result<ThreatPath, ThreatFailure> {
        self.fetch(Call::FetchPath, |sim| {
            let kind = match (from, sim.behaviour.files) {
                (Some(_), Files::Delta | Files::BadDelta) => ThreatFileKind::Delta,
                _ => ThreatFileKind::Snapshot,
            };
            let to = name_of(sim.behaviour.order.unwrap_or_default()).digest;
            let file = ThreatFile { kind, sha256: to, bytes: 1, to };
            Ok(ThreatPath { version: VERSION, files: vec![file] })
        })
    }

    fn download(&mut self, _: usize, _: &ThreatFile) -> Result<(), ThreatFailure> {
        self.fetch(Call::Download, |_| Ok(()))
    }

    fn make_list(
        &mut self,
        _: usize,
        base: Option<&KeptList>,
        expected: &ExpectedList<'_>,
    ) -> Result<Made, ThreatFailure> {
        let files = self.world.0.borrow().behaviour.files;
        match (files, base) {
            (Files::BadDelta, Some(_)) | (Files::Bad, _) => {
                return Err(ThreatFailure::Unusable("another list came out".into()));
            }
            _ => {}
        }
        let revision = expected.ordered.revision;
        self.write(Call::MakeList, |disk| {
            disk.files.insert(revision);
        })?;
        let change = base.map(|base| {
            let (before, after) = (entries_of(base.name.revision), entries_of(revision));
            ElementChange {
                adds: after.difference(&before).copied().collect(),
                removes: before.difference(&after).copied().collect(),
            }
        });
        Ok(Made { list: kept(revision), change })
    }

    fn stays_behind(&mut self, wanted: &str, floor: &str) {
        Platform::stays_behind(self, wanted.to_owned(), floor.to_owned());
    }
}

impl<M: Model> ThreatHost for Running<M> {
    fn now(&self) -> UnixSeconds {
        self.world.0.borrow().now
    }

    fn boot_id(&self) -> String {
        self.world.0.borrow().boot.to_string()
    }

    fn failsafe_without_policy(&mut self, _: &[SocketAddr]) -> BoundFailsafe {
        BoundFailsafe::bare(vec![self.world.set(|sim| sim.endpoint)], &[])
    }

    fn introduce_open_connections(&mut self) {
        Log::step(self, Step::Introduced);
    }

    fn report_last_matches(&mut self, threat: &mut ThreatPart, _: Option<&Bound>) {
        self.read_matches(threat);
    }

    fn note(&mut self, problem: Problem) {
        Log::note(self, problem);
    }

    fn step(&mut self, step: Step) {
        Log::step(self, step);
    }
}

impl<M: Model> Running<M> {
    fn write(&self, call: Call, act: impl FnOnce(&mut Disk)) -> Result<(), ThreatFailure> {
        let act = |sim: &mut Sim<M>| {
            act(&mut sim.disk);
            Ok(())
        };
        let full = |_| Err(ThreatFailure::Failed("no space left on device".into()));
        self.world.perform(call, act, full)
    }

    fn fetch<T>(
        &self,
        call: Call,
        act: impl FnOnce(&mut Sim<M>) -> Result<T, ThreatFailure>,
    ) -> Result<T, ThreatFailure> {
        self.world.perform(call, act, |_| Err(ThreatFailure::Failed("no answer".into())))
    }

    /// Puts what the recorder counted since the last run into the outbox.
    pub(super) fn read_matches(&mut self, threat: &mut ThreatPart) {
        if !threat.has_list() {
            return;
        }
        let Ok(dump) = threat.table().and_then(|table| table.matches()) else { return };
        let now = ThreatHost::now(self);
        let new = self.progress.threat.flows.advance(&dump, now * 1000);
        let interval = Interval { since: now, until: now };
        let context = Context { bound: None, ports: &[], revision: 0 };
        let found = matches::recorded(&new, interval);
        let matches: Vec<_> = found.into_iter().map(|flow| flow.report(&context, None)).collect();
        if !matches.is_empty() {
            self.put(ReportBody::Threats(ThreatReport { matches, lost: 0 }));
        }
    }
}

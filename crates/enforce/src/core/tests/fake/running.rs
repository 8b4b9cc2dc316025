//! A run in the simulated world: disk, facts, platform, log, and the parts of the cycle.

use super::*;

/// The other parts of a run.
pub(super) struct Running<M: Model> {
    pub(super) world: World<M>,
    pub(super) progress: Progress,
    pub(super) contact: Contact,
    pub(super) failure: Option<ContactFailure>,
    /// What the next check-in says about the threat list.
    pub(super) threat: Option<ThreatStanding>,
}

impl<M: Model> Running<M> {
    fn check_in(&mut self, call: Call, standing: PolicyStatus) -> Option<CheckInAnswer> {
        let threat = self.threat.clone().expect("it is refreshed before each check-in");
        let act = |sim: &mut Sim<M>| {
            if !sim.is_reached() {
                return None;
            }
            sim.record_check_in(standing, threat);
            Some(CheckInAnswer {
                version: VERSION,
                wanted: sim.behaviour.wants.map(wanted),
                commands: Vec::new(),
                next_check_in: 60,
                time: 0,
                threat: sim.behaviour.order.map(wanted_order),
                configuration: None,
                seen: None,
                problems: Vec::new(),
                trust: None,
            })
        };
        let answer = self.world.perform(call, act, |_| None);
        self.contact = match answer {
            Some(_) => Contact::Reached,
            None => {
                self.failure.get_or_insert(ContactFailure::Unreachable);
                Contact::Unreachable
            }
        };
        answer
    }
}

impl<M: Model> Records for Running<M> {
    fn save(&mut self, known: &LastKnownGood) -> Result<(), SaveError> {
        let act = |sim: &mut Sim<M>| {
            sim.disk.known_good = Some(known.clone());
            Ok(())
        };
        let fail = |_| Err(SaveError { reason: "no space left on device".to_owned() });
        self.world.perform(Call::WriteDown, act, fail)
    }

    fn raise_floor(&mut self, ruleset: &Verified<Ruleset>) {
        self.progress.raise_floor(ruleset);
    }

    fn floor(&self) -> RulesetVersion {
        self.progress.ruleset_floor()
    }
}

impl<M: Model> Host<M::Capabilities> for Running<M> {
    fn facts(&mut self, _: &Ruleset, _: &M::Capabilities, _: &[SocketAddr]) -> Facts {
        Facts { endpoints: vec![self.world.set(|sim| sim.endpoint)], ..Facts::default() }
    }

    fn configured_failsafe(&mut self) -> FailsafeAddresses {
        FailsafeAddresses::default()
    }

    fn resolved_failsafe(&mut self) -> FailsafeAddresses {
        let endpoints = vec![self.world.set(|sim| sim.endpoint)];
        FailsafeAddresses { endpoints, ..FailsafeAddresses::default() }
    }

    fn introduce_open_connections(&mut self) {
        Log::step(self, Step::Introduced);
    }

    fn inspect_forwarding(&mut self, _: &Ruleset, _: &M::Capabilities) {}
}

impl<M: Model> Platform for Running<M> {
    fn confirm(&mut self, standing: PolicyStatus) -> Result<(), String> {
        match self.check_in(Call::Confirm, standing) {
            Some(_) => Ok(()),
            None => Err("no answer".to_owned()),
        }
    }

    fn correct(&mut self, standing: PolicyStatus) {
        self.check_in(Call::Correct, standing);
    }

    fn ruleset(&mut self, have: Option<Digest>) -> Fetched {
        let act = |sim: &mut Sim<M>| {
            let revision = sim.behaviour.wants.unwrap_or_default();
            if have == Some(wanted(revision).digest) {
                return Fetched::Unchanged;
            }
            let bytes = match sim.behaviour.brings {
                FetchedRuleset::Wanted => sealed(revision).to_bytes(),
                FetchedRuleset::Older(older) => sealed(older).to_bytes(),
                FetchedRuleset::Forged => {
                    let forger = PolicyKey::from_seed([8; 32]);
                    let forged = ruleset(revision, asset());
                    envelope::seal_ruleset(&forger, &forged, revision).unwrap().to_bytes()
                }
                FetchedRuleset::OfAnotherHost => {
                    let theirs = ruleset(revision, "as-2".parse().unwrap());
                    envelope::seal_ruleset(&key(), &theirs, revision).unwrap().to_bytes()
                }
                FetchedRuleset::Cut => {
                    let mut bytes = sealed(revision).to_bytes();
                    bytes.truncate(bytes.len() / 2);
                    bytes
                }
                FetchedRuleset::Nothing => return Fetched::Nothing,
            };
            Fetched::Envelope(bytes, asset())
        };
        self.world.perform(Call::Fetch, act, |_| Fetched::Nothing)
    }

    fn show_what_is_held(
        &mut self,
        _: PolicyStatus,
        _: Option<&LastKnownGood>,
    ) -> Option<CheckInAnswer> {
        None
    }

    fn stays_behind(&mut self, wanted: String, floor: String) {
        let text = format!("the platform wants {wanted}, and this host has had {floor}");
        Log::note(self, Problem { code: "platform-behind".to_owned(), text });
    }
}

impl<M: Model> Log for Running<M> {
    fn note(&mut self, problem: Problem) {
        self.world.set(|sim| sim.problems.push(problem));
    }

    fn step(&mut self, step: Step) {
        self.world.perform(Call::Step(step), |_| (), |_| ());
    }

    fn trace(&mut self, _: DebugArea, text: &dyn Fn() -> String) {
        assert!(!text().is_empty());
    }
}

pub(super) struct Parts<M: Model> {
    pub(super) policy: PolicyPart,
    pub(super) threat: ThreatPart,
    pub(super) delivery: Delivery,
    pub(super) run: Running<M>,
}

impl<M: Model> Parts<M> {
    /// What is known about the threat list now is what the next check-in says.
    fn refresh(&mut self) {
        self.run.threat = Some(self.threat.standing(&self.run.progress.threat, 0, None));
    }

    fn with_threats(&mut self, act: impl FnOnce(&mut ThreatWork<'_, Running<M>>)) {
        let Self { policy, threat, run, .. } = self;
        act(&mut ThreatWork { threat, policy, world: run });
        run.world.set(|sim| sim.threat_turns += 1);
    }

    fn last_seen(&self) -> LastReadBack {
        let boot = ThreatHost::boot_id(&self.run);
        match &self.run.progress.generation {
            None => LastReadBack::Never,
            Some((then, generation)) if *then == boot => LastReadBack::At(Generation(*generation)),
            Some(_) => LastReadBack::BeforeThisBoot,
        }
    }

    fn say(&mut self, call: Call) -> Option<CheckInAnswer> {
        self.refresh();
        self.run.check_in(call, self.policy.standing())
    }

    /// What the run has done.
    pub(super) fn ended(&self) -> Ended {
        let policy = &self.policy;
        let results = PartResults {
            ownership: Ownership::Ours,
            policy: policy.failure(),
            contact: self.run.failure,
            threat: self.run.progress.threat.failure.as_deref(),
            in_force: policy.in_force().is_some(),
        };
        Ended { status: results.status(), in_force: policy.in_force(), change: policy.change() }
    }

    /// Reports the hits that were added, and remembers at which generation they were read.
    fn report_hits(&mut self) {
        let (Some(programmed), Some(known)) = (self.policy.programmed(), self.policy.proven())
        else {
            return;
        };
        let boot = ThreatHost::boot_id(&self.run);
        let progress = &mut self.run.progress;
        if let Some(Generation(generation)) = self.policy.seen_at() {
            progress.generation = Some((boot, generation));
        }
        let hits = hits::since(programmed, &mut progress.hits, &mut progress.hits_of);
        if hits.is_empty() {
            return;
        }
        let report = ProgrammedReport {
            in_force: known.ruleset.in_force(),
            inbound: DirectionState::of(&known.ruleset.inbound),
            outbound: DirectionState::of(&known.ruleset.outbound),
            hits,
            text: None,
            unenforceable: Vec::new(),
        };
        self.run.put(ReportBody::Programmed(report));
    }
}

impl<M: Model> Cycle for Parts<M> {
    type Inspection = ();

    fn provision(&mut self) {
        Log::step(&mut self.run, Step::Locked);
    }

    fn inspect(&mut self) -> Result<(), Failed> {
        self.refresh();
        let last = self.last_seen();
        let Self { policy, threat, run, .. } = self;
        let mut kernel = FakeKernel::of(&run.world);
        let looked = policy.inspect(&mut kernel, run, last);
        policy.checked(looked, run)?;
        run.read_matches(threat);
        Log::step(run, Step::Collected);
        Ok(())
    }

    fn repair(&mut self, (): &mut ()) -> Result<(), Failed> {
        let Self { policy, run, .. } = self;
        let mut kernel = FakeKernel::of(&run.world);
        let repaired = policy.repair(&mut kernel, run);
        policy.checked(repaired, run)
    }

    fn settle_threats(&mut self) {
        self.with_threats(|threats| threats.settle());
    }

    fn check_in(&mut self) -> Option<CheckInAnswer> {
        let answer = self.say(Call::CheckIn);
        Log::step(&mut self.run, Step::CheckedIn);
        answer
    }

    fn follow_policy(&mut self, (): &mut (), answer: Option<&CheckInAnswer>) {
        self.refresh();
        let Self { policy, run, .. } = self;
        let (mut kernel, contact) = (FakeKernel::of(&run.world), run.contact);
        let followed = policy.follow(&mut kernel, run, answer, contact);
        let _ = policy.checked(followed, run);
        self.report_hits();
    }

    fn follow_threats(&mut self, answer: Option<&CheckInAnswer>) {
        self.with_threats(|threats| threats.follow(answer));
    }

    fn report_observations(&mut self, _: Option<()>) {}

    fn install_boot_unit(&mut self) {}
}

impl<M: Model> Conclusion for Parts<M> {
    type Error = NotSaved;

    fn report_the_rest(&mut self) {
        self.refresh();
        let now = (self.policy.standing(), self.run.threat.clone());
        let told = self.run.world.0.borrow().told.clone();
        let is_new = told.is_some_and(|(policy, threat)| {
            policy.in_force != now.0.in_force || Some(threat) != now.1
        });
        if self.run.contact == Contact::Reached && is_new {
            self.say(Call::Correct);
        }
    }

    fn save(&mut self) -> Result<(), NotSaved> {
        DeliveryIo::save(&mut self.run)?;
        Log::step(&mut self.run, Step::Saved);
        Ok(())
    }

    fn fill_spool(&mut self) -> Result<(), NotSaved> {
        self.delivery.settle_losses(&mut self.run)?;
        self.delivery.move_outbox(&mut self.run)?;
        Log::step(&mut self.run, Step::Spooled);
        Ok(())
    }

    fn deliver(&mut self) {
        self.delivery.deliver(&mut self.run);
    }

    fn serve_diagnostics(&mut self) -> Result<(), NotSaved> {
        Ok(())
    }

    fn save_again(&mut self) -> Result<(), NotSaved> {
        DeliveryIo::save(&mut self.run)
    }
}

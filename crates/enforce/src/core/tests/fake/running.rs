//! A run in the simulated world: disk, facts, platform, log, and the parts of the cycle.

use super::*;

/// The other parts of a run.
pub(super) struct Running<M: Model> {
    pub(super) world: World<M>,
    pub(super) floor: RulesetVersion,
    pub(super) contact: Contact,
    pub(super) failure: Option<ContactFailure>,
}

impl<M: Model> Running<M> {
    fn check_in(&mut self, call: Call, standing: PolicyStatus) -> Option<CheckInAnswer> {
        let act = |sim: &mut Sim<M>| {
            if !sim.is_reached() {
                return None;
            }
            sim.hear(standing);
            Some(CheckInAnswer {
                version: VERSION,
                wanted: sim.behaviour.wants.map(wanted),
                commands: Vec::new(),
                next_check_in: 60,
                time: 0,
                threat: None,
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
    fn write_down(&mut self, known: &LastKnownGood) -> Result<(), NotWritten> {
        let act = |sim: &mut Sim<M>| {
            sim.disk = Some(known.clone());
            Ok(())
        };
        let fail = |_| Err(NotWritten { reason: "no space left on device".to_owned() });
        self.world.perform(Call::WriteDown, act, fail)
    }

    fn raise_floor(&mut self, ruleset: &Verified<Ruleset>) {
        self.floor = self.floor.max(ruleset.version());
    }

    fn floor(&self) -> RulesetVersion {
        self.floor
    }
}

impl<M: Model> Host<M::Capabilities> for Running<M> {
    fn facts(&mut self, _: &Ruleset, _: &M::Capabilities, _: &[SocketAddr]) -> Facts {
        Facts { endpoints: vec![self.world.set(|sim| sim.endpoint)], ..Facts::default() }
    }

    fn configured_ways(&mut self) -> WaysOut {
        WaysOut::default()
    }

    fn resolved_ways(&mut self) -> WaysOut {
        let endpoints = vec![self.world.set(|sim| sim.endpoint)];
        WaysOut { endpoints, ..WaysOut::default() }
    }

    fn introduce_open_connections(&mut self) {
        self.step(Step::Introduced);
    }

    fn look_at_forwarding(&mut self, _: &Ruleset, _: &M::Capabilities) {}
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
                Brings::Wanted => sealed(revision).to_bytes(),
                Brings::Older(older) => sealed(older).to_bytes(),
                Brings::Forged => {
                    let forger = PolicyKey::from_seed([8; 32]);
                    let forged = ruleset(revision, asset());
                    envelope::seal_ruleset(&forger, &forged, revision).unwrap().to_bytes()
                }
                Brings::OfAnotherHost => {
                    let theirs = ruleset(revision, "as-2".parse().unwrap());
                    envelope::seal_ruleset(&key(), &theirs, revision).unwrap().to_bytes()
                }
                Brings::Cut => {
                    let mut bytes = sealed(revision).to_bytes();
                    bytes.truncate(bytes.len() / 2);
                    bytes
                }
                Brings::Nothing => return Fetched::Nothing,
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
        self.note(Problem { code: "platform-behind".to_owned(), text });
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
    pub(super) run: Running<M>,
}

impl<M: Model> Cycle for Parts<M> {
    type Look = ();

    fn provision(&mut self) {
        self.run.step(Step::Locked);
    }

    fn look(&mut self) -> Result<(), Failed> {
        let last = self.run.world.0.borrow().last_seen;
        let looked = look(self, last);
        self.policy.checked(looked, &mut self.run)?;
        self.run.step(Step::Collected);
        Ok(())
    }

    fn mend(&mut self, (): &mut ()) -> Result<(), Failed> {
        let Self { policy, run } = self;
        let mut kernel = FakeKernel::of(&run.world);
        let mended = policy.mend(&mut kernel, run);
        policy.checked(mended, run)
    }

    fn settle_threats(&mut self) {
        self.run.world.set(|sim| sim.threat_turns += 1);
    }

    fn check_in(&mut self) -> Option<CheckInAnswer> {
        let answer = self.run.check_in(Call::CheckIn, self.policy.standing());
        self.run.step(Step::CheckedIn);
        answer
    }

    fn follow_policy(&mut self, (): &mut (), answer: Option<&CheckInAnswer>) {
        let Self { policy, run } = self;
        let (mut kernel, contact) = (FakeKernel::of(&run.world), run.contact);
        let followed = policy.follow(&mut kernel, run, answer, contact);
        let _ = policy.checked(followed, run);
    }

    fn follow_threats(&mut self, _: Option<&CheckInAnswer>) {
        self.run.world.set(|sim| sim.threat_turns += 1);
    }

    fn tell(&mut self, _: Option<()>) {}

    fn install_boot_unit(&mut self) {}
}

pub(super) fn look<M: Model>(
    parts: &mut Parts<M>,
    last: LastSeen,
) -> Result<(), crate::core::holding::HoldingError> {
    let Parts { policy, run } = parts;
    let mut kernel = FakeKernel::of(&run.world);
    policy.look(&mut kernel, run, last)
}

impl<M: Model> Parts<M> {
    /// Reports the rest, and saves what the next run needs.
    pub(super) fn finish(mut self) -> Ended {
        let standing = self.policy.standing();
        let told = self.run.world.0.borrow().told.clone();
        if self.run.contact == Contact::Reached
            && told.is_some_and(|told| told.in_force != standing.in_force)
        {
            self.run.check_in(Call::Correct, standing);
        }
        let (policy, floor) = (&self.policy, self.run.floor);
        let save = |sim: &mut Sim<M>| {
            sim.floor = floor;
            if let Some(generation) = policy.seen_at() {
                sim.last_seen = LastSeen::At(generation);
            }
            if let Some(programmed) = policy.programmed() {
                let (last, of) = &mut sim.hits;
                let hits = hits::since(programmed, last, of);
                sim.hits_told += hits.iter().map(|hits| hits.packets).sum::<u64>();
            }
        };
        // What was not saved is reported by the next run.
        self.run.world.perform(Call::Save, save, |_| ());
        let results = PartResults {
            ownership: Ownership::Ours,
            policy: policy.failure(),
            contact: self.run.failure,
            threat: None,
            in_force: policy.in_force().is_some(),
        };
        Ended { status: results.status(), in_force: policy.in_force(), change: policy.change() }
    }
}

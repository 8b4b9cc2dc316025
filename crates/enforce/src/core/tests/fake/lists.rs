//! The threat lists of the simulated platform, and the orders that name them.

use super::*;

/// The order that takes the list out.
pub(in crate::core::tests) const NO_LIST: u64 = REVISIONS + 1;

/// What a list holds: an entry of its own, and one that is in all of them.
pub(super) fn entries_of(revision: u64) -> BTreeSet<IpNet> {
    let own = format!("203.0.113.{revision}/32");
    [own.as_str(), "198.51.100.0/24"].iter().map(|text| text.parse().unwrap()).collect()
}

pub(super) fn name_of(revision: u64) -> ListName {
    ListName {
        revision,
        digest: Bytes([revision as u8; 32]),
        entries: 2,
        least_confidence: 0,
        whole_entries: 2,
    }
}

pub(super) fn kept(revision: u64) -> KeptList {
    let counts = Counts::count(entries_of(revision));
    KeptList { name: name_of(revision), counts, expanded_from: (32, 128) }
}

/// The order with this number, signed.
pub(super) fn ordered(sequence: u64) -> &'static Envelope {
    static ORDERS: LazyLock<Vec<Envelope>> = LazyLock::new(|| {
        let seal = |sequence| {
            let order = ThreatOrder {
                asset: asset(),
                sequence,
                inbound: ThreatMode::Block,
                outbound: if sequence % 2 == 0 { ThreatMode::Block } else { ThreatMode::EventOnly },
                list: (sequence != NO_LIST).then(|| name_of(sequence)),
                verify_every: 1_000,
            };
            envelope::seal(&key(), &order).unwrap()
        };
        (0..=NO_LIST).map(seal).collect()
    });
    &ORDERS[sequence as usize]
}

pub(super) fn wanted_order(sequence: u64) -> ThreatWanted {
    ThreatWanted { sequence, order: ordered(sequence).digest() }
}

/// A threat list in the simulated kernel.
#[derive(Clone)]
pub(super) struct ListEntry {
    pub(super) list: KernelList,
    pub(super) posture: Posture,
    pub(super) entries: BTreeSet<IpNet>,
    /// Packets of listed peers that the recorder counted.
    pub(super) packets: u64,
    pub(super) epoch: u64,
}

impl<M: Model> Sim<M> {
    /// Puts a list into the kernel; the recorder stays.
    pub(super) fn put_list(
        &mut self,
        list: KernelList,
        posture: Posture,
        entries: BTreeSet<IpNet>,
    ) {
        let (packets, epoch) = match &self.list_table {
            Some(before) => (before.packets, before.epoch),
            None => {
                self.epoch += 1;
                (0, self.epoch)
            }
        };
        self.list_table = Some(ListEntry { list, posture, entries, packets, epoch });
        self.list_changes += 1;
    }
}

/// The list's table in the simulated kernel.
pub(super) struct FakeListTable<M: Model>(pub(super) World<M>);

impl<M: Model> FakeListTable<M> {
    fn read<T>(&self, call: Call, act: impl FnOnce(&mut Sim<M>) -> T) -> Result<T, FirewallError> {
        self.0.perform(call, |sim| Ok(act(sim)), |fault| Err(unread(fault)))
    }

    fn change(&self, call: Call, act: impl FnOnce(&mut Sim<M>)) -> Result<(), FirewallError> {
        let act = |sim: &mut Sim<M>| {
            act(sim);
            Ok(())
        };
        self.0.perform(call, act, |fault| Err(refused(fault)))
    }
}

impl<M: Model> ListTable for FakeListTable<M> {
    fn generation(&mut self) -> Result<Option<Generation>, FirewallError> {
        let act = |sim: &mut Sim<M>| {
            let policy = sim.kernel.generation()?;
            Ok(policy.map(|Generation(policy)| Generation(policy.wrapping_add(sim.list_changes))))
        };
        self.0.perform(Call::ListGeneration, act, |fault| Err(unread(fault)))
    }

    fn state(&mut self) -> Result<ThreatState, FirewallError> {
        self.read(Call::ListState, |sim| match &sim.list_table {
            None => ThreatState::Absent,
            Some(entry) if entry.list.counts != Counts::count(entry.entries.iter().copied()) => {
                ThreatState::Broken { what: "entries are missing".to_owned() }
            }
            Some(entry) => ThreatState::InForce(InstalledList {
                slot: Slot::A,
                list: entry.list,
                guard: String::new(),
            }),
        })
    }

    fn load(
        &mut self,
        list: &KernelList,
        posture: &Posture,
        entries: &mut dyn Iterator<Item = Result<IpNet, Unreadable>>,
    ) -> Result<(), ThreatError> {
        let revision = list.revision;
        let entries: BTreeSet<IpNet> = entries
            .collect::<Result<_, _>>()
            .map_err(|source| ThreatError::Unreadable { revision, source })?;
        let put = |sim: &mut Sim<M>| sim.put_list(*list, posture.clone(), entries);
        Ok(self.change(Call::ListLoad, put)?)
    }

    fn apply_delta(
        &mut self,
        base: PlanDigest,
        list: &KernelList,
        adds: &[IpNet],
        removes: &[IpNet],
        posture: &Posture,
    ) -> Result<(), ThreatError> {
        let before = self.0.0.borrow().list_table.clone();
        let Some(ListEntry { list: found, mut entries, .. }) = before else {
            let (action, what) = ("changing it", "there is none".to_owned());
            return Err(ThreatError::NotInForce { action, what });
        };
        if found.digest != base {
            return Err(ThreatError::WrongBase { base, found: found.digest });
        }
        // As the kernel does: what is removed must be there, and what is added must not.
        let fits = removes.iter().all(|entry| entries.remove(entry))
            && adds.iter().all(|entry| entries.insert(*entry));
        if !fits {
            return Err(refused(Fault::Refused).into());
        }
        let put = |sim: &mut Sim<M>| sim.put_list(*list, posture.clone(), entries);
        Ok(self.change(Call::ListDelta, put)?)
    }

    fn set_posture(&mut self, posture: &Posture) -> Result<(), ThreatError> {
        // A kernel whose filters follow from the modes needs the entries for other ones.
        if M::AT_BOOT == AtBoot::Kept
            && let Some(entry) = &self.0.0.borrow().list_table
            && (entry.posture.inbound, entry.posture.outbound)
                != (posture.inbound, posture.outbound)
        {
            let (action, what) = ("changing the modes", "it has other ones".to_owned());
            return Err(ThreatError::NotInForce { action, what });
        }
        let set = |sim: &mut Sim<M>| {
            let entry = sim.list_table.as_mut();
            if let Some(entry) = entry.filter(|entry| entry.posture != *posture) {
                entry.posture = posture.clone();
                sim.list_changes += 1;
            }
        };
        Ok(self.change(Call::ListPosture, set)?)
    }

    fn verify_full(
        &mut self,
        entries: &mut dyn Iterator<Item = IpNet>,
    ) -> Result<Vec<Difference>, ThreatError> {
        let wanted: BTreeSet<IpNet> = entries.collect();
        let compare = |sim: &mut Sim<M>| {
            let found = sim.list_table.as_ref().map(|entry| entry.entries.clone());
            let found = found.unwrap_or_default();
            let difference = Difference {
                set: "hosts4".to_owned(),
                wanted: wanted.len() as u64,
                found: found.len() as u64,
            };
            if found == wanted { Vec::new() } else { vec![difference] }
        };
        Ok(self.read(Call::ListVerify, compare)?)
    }

    fn a_missing_entry(
        &mut self,
        entries: &mut dyn Iterator<Item = IpNet>,
    ) -> Result<Option<IpNet>, ThreatError> {
        let wanted: Vec<IpNet> = entries.collect();
        let look = |sim: &mut Sim<M>| {
            let entry = sim.list_table.as_ref();
            let holds = |wanted: &IpNet| entry.is_some_and(|entry| entry.entries.contains(wanted));
            wanted.into_iter().find(|wanted| !holds(wanted))
        };
        Ok(self.read(Call::ListMissing, look)?)
    }

    fn matches(&mut self) -> Result<FlowDump, FirewallError> {
        let act = |sim: &mut Sim<M>| {
            let what = "no list".to_owned();
            let entry = sim.list_table.as_ref().ok_or(FirewallError::NothingInForce { what })?;
            let flow = FlowCount {
                kind: FlowKind::Denied,
                traffic: Traffic::default(),
                direction: Direction::Inbound,
                source: "198.51.100.7".parse().unwrap(),
                destination: "192.0.2.1".parse().unwrap(),
                protocol: Protocol::Tcp,
                port: 22,
                packets: entry.packets,
                bytes: entry.packets,
                expires_in_ms: 1 << 40,
                idle_ms: 0,
            };
            Ok(FlowDump { epoch: entry.epoch, flows: vec![flow] })
        };
        self.0.perform(Call::ListMatches, act, |fault| Err(unread(fault)))
    }

    fn losses(&mut self) -> Result<RecorderLosses, FirewallError> {
        Ok(RecorderLosses::default())
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        self.change(Call::ListRemove, |sim| {
            sim.list_table = None;
            sim.list_changes += 1;
        })
    }
}

//! The seam between what decides about filters and a filter engine: the one of the host, or an
//! [`EngineState`] in memory.

use std::fmt;
use std::time::Duration;

use super::guid::Guid;
use super::model::{EngineState, Filter, ObjectKey, Provider, SubLayer};
use super::names::Layer;

/// A filter engine that can be read and changed.
pub trait FilterEngine {
    /// Reads all providers, sublayers and filters, those of others too, but not the filters of the threat
    /// list, of which there may be hundreds of thousands. [`EngineState::dynamic`] holds
    /// the filters that the dynamic session of this value added.
    ///
    /// # Errors
    /// The engine can't be reached, or holds something of ours that this program can't read.
    fn read(&mut self) -> Result<EngineState, EngineError>;

    /// Reads all providers and sublayers, and no filters.
    ///
    /// # Errors
    /// The engine can't be reached.
    fn objects(&mut self) -> Result<EngineState, EngineError>;

    /// Passes the filters of a provider at a layer to `each`.
    ///
    /// # Errors
    /// The engine can't be reached, or holds one that this program can't read.
    fn each_filter_of(
        &mut self,
        provider: Guid,
        layer: &Layer,
        each: &mut dyn FnMut(&Filter),
    ) -> Result<(), EngineError>;

    /// The filters with these keys, as far as they are there.
    ///
    /// # Errors
    /// The engine can't be reached, or holds one that this program can't read.
    fn filters_by_key(&mut self, keys: &[ObjectKey]) -> Result<Vec<Filter>, EngineError>;

    /// Limits the dynamic session that is opened next: if it has not ended after this time, it is ended,
    /// also if the program hangs.
    ///
    /// # Errors
    /// The limit can't be set.
    fn limit_session(&mut self, limit: Duration) -> Result<(), EngineError>;

    /// Carries out all changes, or none. The dynamic session is opened by the first transaction that
    /// needs it, and stays open until [`FilterEngine::end_session`] or until this value is dropped.
    ///
    /// # Errors
    /// The first change that was refused; nothing is changed then.
    fn commit(&mut self, transaction: &Transaction) -> Result<(), EngineError>;

    /// Ends the dynamic session, and removes what it added and nobody deleted. Without such a session,
    /// nothing happens.
    ///
    /// # Errors
    /// The engine can't be reached. It ends the session by itself when this program ends.
    fn end_session(&mut self) -> Result<(), EngineError>;
}

/// Who changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// A dynamic session: what it adds goes when it ends, also when its program is killed.
    Dynamic,
    /// Any other: what it adds stays as long as the object says.
    Lasting,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectChange {
    /// Adds a provider.
    AddProvider(Provider),
    /// Adds a sublayer.
    AddSubLayer(SubLayer),
    /// Adds a filter.
    AddFilter(Box<Filter>),
    /// Deletes a filter.
    DeleteFilter(ObjectKey),
    /// Deletes a sublayer in which no filter is left.
    DeleteSubLayer(ObjectKey),
    /// Deletes a provider to which nothing refers.
    DeleteProvider(ObjectKey),
}

/// Changes that happen together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// In which session.
    pub session: SessionKind,
    /// In this order.
    pub changes: Vec<ObjectChange>,
}

impl ObjectChange {
    /// The same as what is asked of an engine.
    #[must_use]
    pub fn action(&self) -> EngineAction {
        match self {
            Self::AddProvider(provider) => {
                EngineAction::Add(ObjectKind::Provider, provider.key.clone())
            }
            Self::AddSubLayer(sublayer) => {
                EngineAction::Add(ObjectKind::SubLayer, sublayer.key.clone())
            }
            Self::AddFilter(filter) => EngineAction::Add(ObjectKind::Filter, filter.key.clone()),
            Self::DeleteFilter(key) => EngineAction::Delete(ObjectKind::Filter, key.clone()),
            Self::DeleteSubLayer(key) => EngineAction::Delete(ObjectKind::SubLayer, key.clone()),
            Self::DeleteProvider(key) => EngineAction::Delete(ObjectKind::Provider, key.clone()),
        }
    }
}

/// The kinds of objects that a filter engine holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A provider.
    Provider,
    /// A sublayer.
    SubLayer,
    /// A filter.
    Filter,
}

/// What was asked of a filter engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineAction {
    /// A session.
    Open(SessionKind),
    /// A transaction.
    Begin,
    /// A new object.
    Add(ObjectKind, ObjectKey),
    /// To delete an object.
    Delete(ObjectKind, ObjectKey),
    /// To carry out the changes of a transaction.
    Commit,
    /// All objects of a kind.
    Read(ObjectKind),
    /// A time limit for the dynamic session.
    LimitSession,
    /// To end the dynamic session.
    EndSession,
    /// The identity of an executable.
    Identify(String),
}

/// Why a filter engine did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineFault {
    /// `FWP_E_ALREADY_EXISTS`.
    #[error("an object with this key exists already")]
    AlreadyExists,
    /// `FWP_E_…_NOT_FOUND`: the object itself, or one that it refers to.
    #[error("there is no such {0}")]
    NotFound(ObjectKind),
    /// `FWP_E_IN_USE`.
    #[error("other objects refer to it; delete those first")]
    InUse,
    /// `FWP_E_LIFETIME_MISMATCH`.
    #[error("it would outlive its session or an object that it refers to")]
    LifetimeMismatch,
    /// `FWP_E_TIMEOUT`: another program's transaction did not end in time.
    #[error(
        "another program kept the filter engine locked; try again, and if this repeats, find the \
         program in `netsh wfp show state`"
    )]
    TimedOut,
    /// `ERROR_ACCESS_DENIED`.
    #[error(
        "access denied; run this program as SYSTEM or as an elevated administrator, and if it is, see \
         which security product protects the filter engine"
    )]
    AccessDenied,
    /// The service `BFE` does not run or does not answer yet.
    #[error(
        "the Base Filtering Engine is not running; start the service BFE and see the System event log \
         for why it stopped"
    )]
    NotRunning,
    /// `FWP_E_SESSION_ABORTED`, or the connection to the service broke.
    #[error("the filter engine ended the session; try again, it may have been restarted")]
    SessionEnded,
    /// `FWP_E_TXN_ABORTED`.
    #[error("the filter engine cancelled the transaction, and nothing was changed; try again")]
    TransactionCancelled,
    /// There is no file under the path of an executable.
    #[error("there is no such file; correct the path in the policy, or install the program")]
    NoSuchFile,
    /// What this program can't translate to or from Windows' structures.
    #[error("{0}; report this as a defect, with the output of `netsh wfp show state`")]
    Malformed(String),
    /// Windows started no thread.
    #[error("Windows started no thread for it ({0}); end other programs, and try again")]
    NoThread(String),
    /// Any other code of Windows.
    #[error("the filter engine answered {name} (0x{code:08x})")]
    Other {
        /// The code.
        code: u32,
        /// The name that Windows' headers have for it, or what it says about it.
        name: String,
    },
}

/// What was asked of a filter engine in vain, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not {action}: {fault}")]
pub struct EngineError {
    /// What was asked.
    pub action: EngineAction,
    /// Why it was not done.
    pub fault: EngineFault,
}

impl EngineFault {
    /// The error of an action that failed for this reason.
    #[must_use]
    pub fn of(self, action: EngineAction) -> EngineError {
        EngineError { action, fault: self }
    }

    /// Whether the same may succeed when it is tried again, without anybody doing something about it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::TimedOut | Self::SessionEnded | Self::TransactionCancelled)
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provider => "provider",
            Self::SubLayer => "sublayer",
            Self::Filter => "filter",
        })
    }
}

impl fmt::Display for EngineAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(SessionKind::Dynamic) => {
                f.write_str("open a dynamic session with the filter engine")
            }
            Self::Open(SessionKind::Lasting) => {
                f.write_str("open a session with the filter engine")
            }
            Self::Begin => f.write_str("begin a transaction with the filter engine"),
            Self::Add(kind, key) => write!(f, "add {kind} {key} to the filter engine"),
            Self::Delete(kind, key) => write!(f, "delete {kind} {key} from the filter engine"),
            Self::Commit => f.write_str("commit changes to the filter engine"),
            Self::Read(kind) => write!(f, "read the {kind}s of the filter engine"),
            Self::Identify(path) => write!(f, "find the device path of {path}"),
            Self::LimitSession => f.write_str("limit the time of a dynamic session"),
            Self::EndSession => f.write_str("end the dynamic session with the filter engine"),
        }
    }
}

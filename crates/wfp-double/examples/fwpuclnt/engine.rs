//! What all calls share: the sessions of this program, what was handed out to it, and faults.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};
use xshield_wfp_double::contract::{By, code};
use xshield_wfp_double::faults::{FaultEffect, Faults, Moment};
use xshield_wfp_double::store::{RawFilter, RawProvider, RawSubLayer, Store};
use xshield_wfp_double::{CallLog, DIRECTORY, Directory, DirectoryError, EngineLock, LiveSession};

use crate::take_in;

/// An open session.
pub(crate) struct Session {
    pub(crate) directory: Directory,
    pub(crate) by: By,
    pub(crate) live: Option<LiveSession>,
    pub(crate) wait: Duration,
    pub(crate) transaction: Option<Running>,
    pub(crate) listings: HashMap<usize, Listing>,
    /// What goes wrong, as of when the session was opened.
    pub(crate) faults: Faults,
    pub(crate) log: CallLog,
}

/// A transaction that has begun.
pub(crate) struct Running {
    pub(crate) store: Store,
    pub(crate) writes: bool,
    #[expect(dead_code, reason = "holds the lock")]
    pub(crate) lock: EngineLock,
}

/// What is left of an enumeration.
pub(crate) enum Listing {
    Providers(Vec<RawProvider>),
    SubLayers(Vec<RawSubLayer>),
    Filters(Vec<RawFilter>),
}

#[derive(Default)]
struct Program {
    sessions: HashMap<usize, Arc<Mutex<Session>>>,
    handed_out: HashMap<usize, Box<dyn Any + Send>>,
    calls: HashMap<Directory, u64>,
    last_handle: usize,
}

static PROGRAM: LazyLock<Mutex<Program>> = LazyLock::new(Mutex::default);

thread_local! {
    static HANDED_OUT: Cell<usize> = const { Cell::new(0) };
    static SESSIONS: Cell<usize> = const { Cell::new(0) };
    static CHOSEN: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

fn program() -> MutexGuard<'static, Program> {
    PROGRAM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The directory that this thread chose, or that the environment names.
pub(crate) fn directory() -> Result<Directory, u32> {
    let chosen = CHOSEN.with_borrow(Clone::clone);
    let path = chosen.or_else(|| std::env::var_os(DIRECTORY).map(PathBuf::from));
    let Some(path) = path else {
        eprintln!("the double of the filter engine has no directory; set {DIRECTORY}");
        return Err(code::INTERNAL_ERROR);
    };
    Directory::at(&path).map_err(|error| broken(&error))
}

/// The double itself does not work: said where people see it.
pub(crate) fn broken(error: &DirectoryError) -> u32 {
    eprintln!("the double of the filter engine does not work: {error}");
    code::INTERNAL_ERROR
}

/// A new handle, never used before.
pub(crate) fn handle() -> usize {
    let mut program = program();
    program.last_handle += 8;
    program.last_handle
}

/// Puts a session where calls find it.
pub(crate) fn opened(session: Session) -> HANDLE {
    let handle = handle();
    SESSIONS.set(SESSIONS.get() + 1);
    program().sessions.insert(handle, Arc::new(Mutex::new(session)));
    handle as HANDLE
}

/// Takes a session away from where calls find it.
pub(crate) fn closed(handle: HANDLE) {
    if program().sessions.remove(&(handle as usize)).is_some() {
        SESSIONS.set(SESSIONS.get().saturating_sub(1));
    }
}

/// A call within a session.
pub(crate) fn call(
    handle: HANDLE,
    name: &str,
    act: impl FnOnce(&mut Session) -> Result<(), u32>,
) -> u32 {
    let Some(session) = program().sessions.get(&(handle as usize)).cloned() else {
        return code::INVALID_HANDLE;
    };
    let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
    let (directory, faults) = (session.directory.clone(), session.faults.clone());
    let mut log = session.log.clone();
    counted(&directory, &faults, &mut log, name, || act(&mut session))
}

/// A call, unless it is to fail; noted with its answer.
pub(crate) fn counted(
    directory: &Directory,
    faults: &Faults,
    log: &mut CallLog,
    name: &str,
    act: impl FnOnce() -> Result<(), u32>,
) -> u32 {
    let number = {
        let mut program = program();
        let number = program.calls.entry(directory.clone()).or_default();
        *number += 1;
        *number
    };
    let fault = faults.of(number, name);
    let answer = match fault {
        Some((Moment::Before, outcome)) => match outcome {
            FaultEffect::Answer(code) => code,
            FaultEffect::Kill => kill(log, name),
        },
        Some((Moment::After, outcome)) => {
            let done = act();
            match outcome {
                FaultEffect::Answer(code) => done.err().unwrap_or(code),
                FaultEffect::Kill => kill(log, name),
            }
        }
        None => act().err().unwrap_or(code::SUCCESS),
    };
    match log.note(name, &format!("{answer:#x}")) {
        Ok(()) => answer,
        Err(error) => broken(&error),
    }
}

fn kill(log: &mut CallLog, name: &str) -> ! {
    if let Err(error) = log.note(name, "killed") {
        broken(&error);
    }
    // SAFETY: ends this program at once, as a kill from outside does.
    unsafe { TerminateProcess(GetCurrentProcess(), 137) };
    std::process::abort()
}

impl Session {
    /// Reads or changes the store: within the running transaction, or in one of its own.
    pub(crate) fn with<T>(
        &mut self,
        writes: bool,
        act: impl FnOnce(&mut Store, By) -> Result<T, u32>,
    ) -> Result<T, u32> {
        if let Some(running) = &mut self.transaction {
            if writes && !running.writes {
                return Err(code::INCOMPATIBLE_TXN);
            }
            return act(&mut running.store, self.by);
        }
        let mut running = self.begin(writes)?;
        let result = act(&mut running.store, self.by)?;
        if writes {
            self.directory.save(&running.store).map_err(|error| broken(&error))?;
        }
        Ok(result)
    }

    pub(crate) fn begin(&self, writes: bool) -> Result<Running, u32> {
        let lock = self.directory.lock(writes, self.wait).map_err(|error| broken(&error))?;
        let lock = lock.ok_or(code::TIMEOUT)?;
        let store = self.directory.load().map_err(|error| broken(&error))?;
        Ok(Running { store, writes, lock })
    }
}

/// Hands out an array of pointers and keeps what they lead to until it is freed.
pub(crate) fn hand_out<T: Any>(pointers: Vec<*mut T>, memory: impl Any + Send) -> *mut *mut T {
    /// Pointers into memory that is kept beside them.
    struct HandedOut<T, M>(
        #[expect(dead_code, reason = "kept")] Vec<*mut T>,
        #[allow(dead_code, reason = "kept")] M,
    );
    // SAFETY: nothing uses the pointers but the program that asked for them; here they are only kept.
    unsafe impl<T, M: Send> Send for HandedOut<T, M> {}
    let mut pointers = pointers;
    let place = pointers.as_mut_ptr();
    keep_at(place as usize, HandedOut(pointers, memory));
    place
}

/// Keeps what was handed out as one object, until it is freed.
pub(crate) fn keep_at(place: usize, memory: impl Any + Send) {
    HANDED_OUT.set(HANDED_OUT.get() + 1);
    program().handed_out.insert(place, Box::new(memory));
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmFreeMemory0(place: *mut *mut c_void) {
    // SAFETY: the caller's promise: a pointer to what was handed out.
    let Some(place) = (unsafe { place.as_mut() }) else { return };
    if program().handed_out.remove(&(*place as usize)).is_none() && !place.is_null() {
        eprintln!("freed what the filter engine did not hand out");
        std::process::abort();
    }
    HANDED_OUT.set(HANDED_OUT.get().saturating_sub(1));
    *place = std::ptr::null_mut();
}

/// For tests: calls of this thread concern the engine in this directory.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn WfpDoubleUse(path: *const u16) {
    // SAFETY: the caller's promise: null, or text with a zero at its end.
    let path = unsafe { take_in::text(path) };
    CHOSEN.set(path.as_deref().map(Path::new).map(Path::to_owned));
}

/// For tests: how many arrays were handed out to this thread and not freed.
#[unsafe(no_mangle)]
pub extern "system" fn WfpDoubleHandedOut() -> usize {
    HANDED_OUT.get()
}

/// For tests: how many sessions of this thread are open.
#[unsafe(no_mangle)]
pub extern "system" fn WfpDoubleSessions() -> usize {
    SESSIONS.get()
}

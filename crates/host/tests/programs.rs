//! Real programs and lookalikes: which ports rules open for them, and how their packets are identified.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "programs/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::fs;

use xshield_host::linux::local::CgroupMatching;
use xshield_policy::{LocalProgram, Owner};

use world::{Cgroup, Service, Stage, Start, inbound, named, outbound, program};

/// Not a test: the program that the tests below start under another name.
#[test]
fn serving() {
    world::serve();
}

#[test]
fn inbound_rules_open_what_their_program_listens_on_now() {
    let Some(stage) = Stage::set() else { return };
    let first = Service::start(&Start::of(&stage.copy("bin/xshield-test-web")));
    let second = Service::start(&Start::of(&stage.copy("bin/xshield-test-db")));
    let (web, db) = (program(&first.path), program(&second.path));
    let by_name = named("xshield-test-db");
    let wanted = [&web, &db, &by_name];
    let found = inbound(wanted);
    assert_eq!(found.listeners[&web], first.listeners());
    assert_eq!(found.listeners[&db], second.listeners());
    assert_eq!(found.listeners[&by_name], second.listeners());
    assert!(found.lookalikes.is_empty(), "{:?}", found.lookalikes);
    drop(second);
    let found = inbound(wanted);
    assert_eq!(found.listeners[&web], first.listeners());
    assert!(!found.listeners.contains_key(&db) && !found.listeners.contains_key(&by_name));
}

#[test]
fn a_path_may_be_a_symbolic_link() {
    let Some(stage) = Stage::set() else { return };
    let service = Service::start(&Start::of(&stage.copy("bin/server-14")));
    std::os::unix::fs::symlink("server-14", stage.path("bin/server")).unwrap();
    let link = program(&stage.path("bin/server"));
    assert_eq!(inbound([&link]).listeners[&link], service.listeners());
}

/// An upgrade replaces the file of a running program.
#[test]
fn an_upgraded_program_is_still_the_program_and_a_removed_file_of_others_is_not() {
    let Some(stage) = Stage::set() else { return };
    let path = stage.copy("bin/server");
    let (by_path, by_name) = (program(&path), named("server"));
    let service = Service::start(&Start::of(&path));
    for step in ["removed", "replaced"] {
        match step {
            "removed" => fs::remove_file(&path).unwrap(),
            _ => drop(stage.copy("bin/server")),
        }
        let found = inbound([&by_path, &by_name]);
        assert_eq!(found.listeners[&by_path], service.listeners(), "{step}");
        assert_eq!(found.listeners[&by_name], service.listeners(), "{step}");
    }
    // The view of a service is also created by root.
    let sandboxed = Service::start(&Start { sandbox: true, ..Start::of(&path) });
    fs::remove_file(&path).unwrap();
    let found = inbound([&by_path]);
    let ports: BTreeSet<_> = found.listeners[&by_path].iter().copied().collect();
    let both = service.listeners().into_iter().chain(sandboxed.listeners()).collect();
    assert_eq!(ports, both);

    // A file that its user could write, before removing it.
    let theirs = stage.copy("bin/theirs");
    std::os::unix::fs::chown(&theirs, Some(world::SERVICE_USER), None).unwrap();
    let program_of_theirs = program(&theirs);
    let writable = Service::start(&Start { user: world::SERVICE_USER, ..Start::of(&theirs) });
    assert_eq!(inbound([&program_of_theirs]).listeners[&program_of_theirs], writable.listeners());
    fs::remove_file(&theirs).unwrap();
    let found = inbound([&program_of_theirs]);
    assert!(!found.listeners.contains_key(&program_of_theirs));
    assert!(found.lookalikes[0].told[0].reason.contains("users other than root could write it"));
}

#[test]
fn a_name_set_by_the_process_does_not_match() {
    let Some(stage) = Stage::set() else { return };
    let genuine = Service::start(&Start::of(&stage.copy("bin/db-called")));
    let by_name = named("db-called");
    assert_eq!(inbound([&by_name]).listeners[&by_name], genuine.listeners());
    // Also as root: the name is the file's, whoever runs it.
    for user in [world::LOGIN_USER, 0] {
        let other = stage.copy("bin/other");
        let lookalike =
            Service::start(&Start { user, calls_itself: "db-called", ..Start::of(&other) });
        let found = inbound([&by_name]);
        assert_eq!(found.listeners[&by_name], genuine.listeners(), "user {user}");
        let told = &found.lookalikes[0].told[0];
        assert_eq!(
            (told.pid, told.executable.as_str()),
            (lookalike.pid(), other.to_str().unwrap())
        );
        assert!(told.reason.contains("only calls itself that"), "{told:?}");
    }
}

#[test]
fn a_file_in_a_user_writable_directory_does_not_match() {
    let Some(stage) = Stage::set() else { return };
    let genuine = Service::start(&Start::of(&stage.copy("bin/db-placed")));
    let by_name = named("db-placed");
    for (place, mode) in [("home", 0o755), ("shared", 0o1777), ("group", 0o775)] {
        let path = stage.copy_with(&format!("{place}/db-placed"), mode, world::LOGIN_USER);
        // Run by root or by a service, it is still the user's file.
        for user in [world::LOGIN_USER, world::SERVICE_USER, 0] {
            let lookalike = Service::start(&Start { user, ..Start::of(&path) });
            let found = inbound([&by_name]);
            assert_eq!(found.listeners[&by_name], genuine.listeners(), "{place} {user}");
            let told = &found.lookalikes[0].told[0];
            assert_eq!(told.pid, lookalike.pid());
            assert!(told.reason.contains("users other than root can write"), "{told:?}");
        }
        // By naming its path the operator has chosen it.
        let by_path = program(&path);
        let named_one = Service::start(&Start { user: world::SERVICE_USER, ..Start::of(&path) });
        assert_eq!(inbound([&by_path]).listeners[&by_path], named_one.listeners());
    }
}

/// `unshare --user --map-root-user --mount` and a bind mount require no privilege.
#[test]
fn a_file_mounted_over_the_path_does_not_match() {
    let Some(stage) = Stage::set() else { return };
    let path = stage.copy("bin/db-mounted");
    let genuine = Service::start(&Start::of(&path));
    let (by_path, by_name) = (program(&path), named("db-mounted"));
    let own = stage.copy_with("home/own", 0o755, world::LOGIN_USER);
    for (user, what) in [(world::LOGIN_USER, "a person"), (world::SERVICE_USER, "a service")] {
        let start = Start { user, mounted_over: Some(own.clone()), ..Start::of(&path) };
        let Some(lookalike) = Service::try_start(&start) else {
            eprintln!("SKIPPED: no user namespaces for users here");
            return;
        };
        let shown = fs::read_link(format!("/proc/{}/exe", lookalike.pid())).unwrap();
        assert_eq!(shown, path, "the attack works: the kernel shows the service's path");
        let found = inbound([&by_path, &by_name]);
        for wanted in [&by_path, &by_name] {
            assert_eq!(found.listeners[wanted], genuine.listeners(), "{what} {wanted}");
        }
        assert_eq!(found.lookalikes.len(), 2, "{:?}", found.lookalikes);
        for lookalikes in &found.lookalikes {
            assert_eq!(lookalikes.told[0].pid, lookalike.pid());
            assert!(lookalikes.told[0].reason.contains("mount namespace"), "{lookalikes:?}");
        }
        // Nor does it make the program's own packets indistinguishable.
        assert!(!outbound([&by_path], CgroupMatching::Missing).owners.is_empty());
        // The file behind the mount is removed: it is no upgrade, and not treated as one.
        fs::remove_file(&own).unwrap();
        let found = inbound([&by_path, &by_name]);
        assert_eq!(found.listeners[&by_path], genuine.listeners(), "{what}: removed");
        drop(stage.copy_with("home/own", 0o755, world::LOGIN_USER));
    }
}

#[test]
fn a_login_users_instance_matches_only_if_the_rule_names_the_user() {
    let Some(stage) = Stage::set() else { return };
    let path = stage.copy("bin/db-logins");
    let genuine = Service::start(&Start { user: world::SERVICE_USER, ..Start::of(&path) });
    let theirs = Service::start(&Start { user: world::LOGIN_USER, ..Start::of(&path) });
    let (by_path, by_name) = (program(&path), named("db-logins"));
    let their_own = world::rule(Some(&path), Some(world::LOGIN_USER), None);
    let user_alone = world::rule(None, Some(world::LOGIN_USER), None);
    let found = inbound([&by_path, &by_name, &their_own, &user_alone]);
    for wanted in [&by_path, &by_name] {
        assert_eq!(found.listeners[wanted], genuine.listeners());
    }
    for wanted in [&their_own, &user_alone] {
        assert_eq!(found.listeners[wanted], theirs.listeners(), "{wanted}");
    }
    let told = found.lookalikes.iter().find(|lookalikes| lookalikes.program == by_path).unwrap();
    assert_eq!((told.told[0].pid, told.told.len()), (theirs.pid(), 1));
    assert!(told.told[0].reason.contains("it runs as a login user"), "{told:?}");

    // Outbound, it neither is the program nor prevents the program's rule from being enforced.
    let found = outbound([&by_path, &user_alone], CgroupMatching::Missing);
    assert_eq!(found.owners[&by_path], Ok(vec![Owner::Uid(world::SERVICE_USER)]));
    assert_eq!(found.owners[&user_alone], Ok(vec![Owner::Uid(world::LOGIN_USER)]));
    assert_eq!(found.lookalikes[0].told[0].pid, theirs.pid());
}

/// If two programs share a port, closing it would let any user make the program unreachable.
#[test]
fn a_program_sharing_the_port_is_reported_and_the_port_stays_open() {
    let Some(stage) = Stage::set() else { return };
    let path = stage.copy("bin/db-shared");
    let genuine = Service::start(&Start::of(&path));
    let by_path = program(&path);
    let other = stage.copy("bin/other");
    let sharing =
        Start { user: world::LOGIN_USER, on_v6_port: Some(genuine.tcp), ..Start::of(&other) };
    let Some(sharing) = Service::try_start(&sharing) else {
        eprintln!("SKIPPED: this machine has no IPv6");
        return;
    };
    let found = inbound([&by_path]);
    assert_eq!(found.listeners[&by_path], genuine.listeners());
    let told = &found.lookalikes[0].told[0];
    assert_eq!(told.pid, sharing.pid());
    assert!(told.reason.contains(&format!("tcp port {}", genuine.tcp)), "{told:?}");
}

#[test]
fn outbound_rules_identify_a_program_by_cgroup() {
    let Some(stage) = Stage::set() else { return };
    let name = format!("xshield-test-{}.service", std::process::id());
    let Some(cgroup) = Cgroup::make(&name) else {
        eprintln!("SKIPPED: no cgroup v2 hierarchy that can be written to");
        return;
    };
    let path = stage.copy("bin/xshield-test-app");
    let service = Service::start(&Start::of(&path));
    let wanted = program(&path);
    let asked = |matching| outbound([&wanted], matching).owners[&wanted].clone();
    let outside = asked(CgroupMatching::Available).unwrap_err();
    assert!(outside.contains("its own service"), "{outside}");
    cgroup.take(&service);
    assert_eq!(asked(CgroupMatching::Available), Ok(vec![Owner::Cgroup(name.clone())]));
    assert!(asked(CgroupMatching::Missing).is_err(), "it runs as root");

    // By unit, with and without the program; inbound by the unit's processes.
    let by_unit = world::rule(None, None, Some(&name));
    let both = world::rule(Some(&path), None, Some(&name));
    let elsewhere = world::rule(Some(&path), None, Some("another.service"));
    let found = outbound([&by_unit, &both, &elsewhere], CgroupMatching::Available);
    for wanted in [&by_unit, &both] {
        assert_eq!(found.owners[wanted], Ok(vec![Owner::Cgroup(name.clone())]), "{wanted}");
    }
    assert!(found.owners[&elsewhere].is_err());
    let found = inbound([&by_unit, &both, &elsewhere]);
    for wanted in [&by_unit, &both] {
        assert_eq!(found.listeners[wanted], service.listeners(), "{wanted}");
    }
    assert!(!found.listeners.contains_key(&elsewhere));
    assert!(found.lookalikes[0].told[0].reason.contains("another unit"), "{:?}", found.lookalikes);

    // A service that runs as a user of people is the program, where only it is in its unit.
    let other = stage.copy("bin/xshield-test-other");
    drop(service);
    let deployed = Service::start(&Start { user: world::LOGIN_USER, ..Start::of(&path) });
    assert!(!inbound([&wanted]).listeners.contains_key(&wanted));
    cgroup.take(&deployed);
    assert_eq!(inbound([&wanted]).listeners[&wanted], deployed.listeners());
    assert_eq!(asked(CgroupMatching::Available), Ok(vec![Owner::Cgroup(name)]));

    let stranger = Service::start(&Start::of(&other));
    cgroup.take(&stranger);
    let shared = asked(CgroupMatching::Available).unwrap_err();
    assert!(shared.contains("xshield-test-other also runs in its cgroup"), "{shared}");
    assert!(!inbound([&wanted]).listeners.contains_key(&wanted), "its unit holds others");
}

#[test]
fn outbound_rules_identify_a_program_by_user() {
    let Some(stage) = Stage::set() else { return };
    let path = stage.copy("bin/xshield-owner-test");
    let (wanted, by_name) = (program(&path), named("xshield-owner-test"));
    let asked = || {
        let found = outbound([&wanted, &by_name], CgroupMatching::Missing);
        assert_eq!(found.owners[&wanted], found.owners[&by_name]);
        found.owners[&wanted].clone()
    };
    assert!(asked().unwrap_err().contains("not running"));
    let user = world::SERVICE_USER;
    let start = Start { user, ..Start::of(&path) };
    let (first, second) = (Service::start(&start), Service::start(&start));
    assert_eq!(asked(), Ok(vec![Owner::Uid(user)]));
    let stranger = Service::start(&Start { user, ..Start::of(&stage.copy("bin/stranger")) });
    assert!(asked().unwrap_err().contains("runs as its user"));
    drop(stranger);
    assert_eq!(asked(), Ok(vec![Owner::Uid(user)]));
    drop((first, second));
    let _as_root = Service::start(&Start::of(&path));
    assert!(asked().unwrap_err().contains("root"));
}

#[test]
fn an_unknown_user_is_reported() {
    let wanted = LocalProgram::new(None, Some("no-such-user".parse().unwrap()), None).unwrap();
    let found = inbound([&wanted]);
    assert!(found.unknown[&wanted].contains("/etc/passwd"), "{:?}", found.unknown);
    assert!(outbound([&wanted], CgroupMatching::Missing).owners[&wanted].is_err());
}

//! People who may sign in.

use xshield_api::access::{NewUser, User, UserChange};
use xshield_api::page::Page;
use xshield_model::Timestamp;
use xshield_model::role::Role;
use xshield_policy::names::Name;
use xshield_store::accounts::{self, Account};
use xshield_store::{Conn, Store};

use crate::caller::{Admin, By};
use crate::change::{AuditEntry, AuditedChange};
use crate::error::{OperationError, Result};
use crate::paging::{Paging, paged};
use crate::passwords::{HashPasswords, hashed};

fn shown(account: Account) -> User {
    User { name: account.name, role: account.role.into(), created_at: account.created_at }
}

/// Users, by name.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, paging: Paging<String>) -> Result<Page<User>> {
    let after = paging.after.clone().unwrap_or_default();
    let users = accounts::list(conn, &after, paging.to_read()).await?;
    Ok(paged(users, paging.limit, |user| user.name.clone(), shown))
}

async fn known(conn: &mut Conn, name: &str) -> Result<Account> {
    accounts::get(conn, name).await?.ok_or_else(|| OperationError::not_found("user", name))
}

fn role_in_words(role: Role) -> String {
    format!("role {role:?}").to_lowercase()
}

/// Adds a user.
///
/// # Errors
/// When name or password is invalid, the user exists, or the database fails.
pub async fn create(
    store: &Store,
    passwords: &impl HashPasswords,
    by: &By<Admin>,
    new: NewUser,
    now: Timestamp,
) -> Result<User> {
    let name: Name = new
        .name
        .parse()
        .map_err(|_| OperationError::invalid("/name", "expected letters and digits"))?;
    let password = hashed(passwords, "/password", new.password).await?;
    let account = Account { name: String::from(name), role: new.role, password, created_at: now };
    let mut change = AuditedChange::begin(store, by, now).await?;
    if accounts::get(&mut change, &account.name).await?.is_some() {
        let detail = "the user exists already";
        return Err(OperationError::conflict_at("/name", "user-exists", detail));
    }
    accounts::put(&mut change, &account).await?;
    let entry = AuditEntry {
        action: "user.create",
        target: &account.name,
        before: String::new(),
        after: role_in_words(account.role),
    };
    change.commit(entry).await?;
    Ok(shown(account))
}

/// Changes a user's role or password. A new password ends the user's sign-ins and tokens.
///
/// # Errors
/// When there is no such user, the password is invalid, no admin would be left, or the database fails.
pub async fn change(
    store: &Store,
    passwords: &impl HashPasswords,
    by: &By<Admin>,
    name: &str,
    request: UserChange,
    now: Timestamp,
) -> Result<User> {
    let password = match request.password {
        Some(password) => Some(hashed(passwords, "/password", password).await?),
        None => None,
    };
    let mut change = AuditedChange::begin(store, by, now).await?;
    let mut account = known(&mut change, name).await?;
    let before = role_in_words(account.role);
    let mut after = String::new();
    if let Some(role) = request.role {
        if account.role == Role::Admin && role != Role::Admin {
            leaves_an_admin(&mut change).await?;
        }
        account.role = role;
        after = role_in_words(role);
    }
    if let Some(password) = password {
        account.password = password;
        accounts::revoke_all(&mut change, name, now).await?;
        after.push_str(" new password");
    }
    accounts::put(&mut change, &account).await?;
    change.commit(AuditEntry { action: "user.change", target: name, before, after }).await?;
    Ok(shown(account))
}

async fn leaves_an_admin(conn: &mut Conn) -> Result<()> {
    if accounts::admins(conn).await? > 1 {
        return Ok(());
    }
    Err(OperationError::conflict("last-admin", "this is the last admin; create another one first"))
}

/// Deletes a user and the user's tokens.
///
/// # Errors
/// When there is no such user, it is the last admin, or the database fails.
pub async fn delete(store: &Store, by: &By<Admin>, name: &str, now: Timestamp) -> Result<()> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let account = known(&mut change, name).await?;
    if account.role == Role::Admin {
        leaves_an_admin(&mut change).await?;
    }
    accounts::delete(&mut change, name).await?;
    let (before, after) = (role_in_words(account.role), String::new());
    change.commit(AuditEntry { action: "user.delete", target: name, before, after }).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, Plain, account, audited, by, store};

    fn new(name: &str, role: Role) -> NewUser {
        NewUser { name: name.to_owned(), password: "long enough".to_owned(), role }
    }

    fn role(role: Role) -> UserChange {
        UserChange { role: Some(role), password: None }
    }

    #[tokio::test]
    async fn users_are_created_changed_and_deleted_and_one_admin_remains() {
        let (_dir, store) = store().await;
        let by = by::<Admin>();
        account(&store, "ann", Role::Admin).await;
        let made = create(&store, &Plain, &by, new("bob", Role::Viewer), NOW).await.unwrap();
        assert_eq!(made.name, "bob");
        assert_eq!(made.role, Role::Viewer);
        let again = create(&store, &Plain, &by, new("bob", Role::Viewer), NOW).await.unwrap_err();
        assert!(matches!(again, OperationError::Conflict { code: "user-exists", .. }), "{again}");
        let stored = accounts::get(&mut store.read().await.unwrap(), "bob").await.unwrap();
        assert_eq!(stored.unwrap().password, "hash of long enough");

        let is_last = |error: OperationError| {
            matches!(error, OperationError::Conflict { code: "last-admin", .. })
        };
        let lesser = change(&store, &Plain, &by, "ann", role(Role::Viewer), NOW).await;
        assert!(is_last(lesser.unwrap_err()));
        assert!(is_last(delete(&store, &by, "ann", NOW).await.unwrap_err()));
        change(&store, &Plain, &by, "bob", role(Role::Admin), NOW).await.unwrap();
        delete(&store, &by, "ann", NOW).await.unwrap();
        let gone = delete(&store, &by, "ann", NOW).await.unwrap_err();
        assert_eq!(gone.to_string(), "there is no user \"ann\"");
        assert_eq!(
            audited(&store).await,
            [
                "user:ann user.create bob:  -> role viewer",
                "user:ann user.change bob: role viewer -> role admin",
                "user:ann user.delete ann: role admin -> ",
            ]
        );
    }

    #[tokio::test]
    async fn invalid_names_and_passwords_are_refused_with_their_field() {
        let (_dir, store) = store().await;
        let short = NewUser { password: "short".to_owned(), ..new("bob", Role::Viewer) };
        for (new, field) in [(new("a b", Role::Viewer), "/name"), (short, "/password")] {
            match create(&store, &Plain, &by::<Admin>(), new, NOW).await.unwrap_err() {
                OperationError::Invalid { field: named, .. } => assert_eq!(named, field),
                other => panic!("{other}"),
            }
        }
    }
}

//! `xshield token` and `xshield user`: accounts and tokens for the admin API.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use xshield_api::Timestamp;
use xshield_api::access::{
    CreatedToken, NewPassword, NewToken, NewUser, Role, Token, User, UserChange,
};

use crate::choice::words_of;
use crate::client::{Client, Path, view};
use crate::error::CliError;
use crate::login::read_secret;
use crate::questions;
use crate::terminal::{Output, Table, cell, good, note, warning};
use crate::times::{Span, relative, relative_or_dash};
use crate::words::word;

/// What each role may do; each includes the ones before it.
fn role(role: &Role) -> Option<&'static str> {
    Some(match role {
        Role::Viewer => "Reads everything but secrets",
        Role::Operator => "Also changes assets, policy and enforcement keys",
        Role::Admin => "Also manages users and the tokens of others",
    })
}

/// API tokens, for programs that act in your name.
#[derive(Debug, Args)]
pub struct TokenCommand {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: TokenAction,
}

#[derive(Debug, Subcommand)]
enum TokenAction {
    /// Create a token. It is shown only once.
    Create {
        /// What it is for.
        #[arg(long)]
        name: String,
        /// Its role, at most your own; your own role when left out.
        #[arg(long, value_parser = words_of(role))]
        role: Option<Role>,
        /// How long it is valid, e.g. 90d; without an end when left out.
        #[arg(long, value_name = "SPAN")]
        expires: Option<Span>,
    },
    /// List tokens: your own, or everybody's for admins.
    List,
    /// Revoke a token.
    Revoke {
        /// The token's id.
        id: String,
    },
}

impl TokenCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        match self.action {
            TokenAction::Create { name, role, expires } => {
                let action = "create an API token";
                let end = expires.map(|span| span.after(Timestamp::now()));
                let body = NewToken { name, role, expires_at: end };
                let answer = client.post(action, &Path::of(&["tokens"]), &body)?;
                let created: CreatedToken = view(action, &answer)?;
                note(&format!("Created token {}. It is not shown again.", created.about.id));
                self.output.show(&answer, |_| Ok(created.token))
            }
            TokenAction::List => {
                let action = "list API tokens";
                let answer = client.list(action, &Path::of(&["tokens"]), None)?;
                self.output.show(&answer, |screen| {
                    let tokens = view(action, &answer["items"])?;
                    Ok(token_table(tokens, Timestamp::now()).render(screen))
                })
            }
            TokenAction::Revoke { id } => {
                let answer = client.delete("revoke the API token", &Path::of(&["tokens", &id]))?;
                self.output.show(&answer, |_| Ok(format!("Revoked token {id}.")))
            }
        }
    }
}

fn token_table(tokens: Vec<Token>, now: Timestamp) -> Table {
    let header = &["ID", "USER", "NAME", "ROLE", "STATE", "CREATED", "EXPIRES", "LAST USED"];
    let mut table = Table::new(header, "There are no API tokens.");
    for token in tokens {
        let state = match (token.revoked_at, token.expires_at) {
            (Some(_), _) => warning("revoked"),
            (None, Some(end)) if end <= now => warning("expired"),
            _ => good("active"),
        };
        table.row(vec![
            cell(&token.id),
            cell(&token.user),
            cell(&token.name),
            cell(word(&token.role)),
            state,
            cell(relative(token.created_at, now)),
            cell(token.expires_at.map_or_else(|| "never".to_owned(), |at| relative(at, now))),
            cell(relative_or_dash(token.last_used_at, now)),
        ]);
    }
    table
}

/// Change your own password. Your other sign-ins and your tokens end.
#[derive(Debug, Args)]
pub struct PasswordCommand {
    /// Read the old password from this file; - reads standard input. Asked for when left out.
    #[arg(long, value_name = "FILE")]
    old_password_file: Option<PathBuf>,
    /// Read the new password from this file. Asked for when left out.
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
}

impl PasswordCommand {
    /// Asks for both and changes the password.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        let old = match &self.old_password_file {
            Some(path) => read_secret(path)?,
            None => questions::password("Old password")?,
        };
        let new = new_password("New password", self.new_password_file)?;
        let body = NewPassword { old, new };
        client.put("change the password", &Path::of(&["me", "password"]), &body)?;
        note("Changed your password; your other sign-ins and tokens have ended.");
        Ok(())
    }
}

/// People who may sign in. For admins.
#[derive(Debug, Args)]
pub struct UserCommand {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: UserAction,
}

#[derive(Debug, Subcommand)]
enum UserAction {
    /// Add a user.
    Create {
        /// The name to sign in with.
        name: String,
        /// What the user may do.
        #[arg(long, value_parser = words_of(role))]
        role: Role,
        /// Read the password from this file; - reads standard input. Asked for when left out.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// List users.
    List,
    /// Change the role of a user.
    Role {
        /// The name of the user.
        name: String,
        /// The new role.
        #[arg(value_parser = words_of(role))]
        role: Role,
    },
    /// Set a new password for a user. The user's sign-ins and tokens end.
    Password {
        /// The name of the user.
        name: String,
        /// Read the password from this file; - reads standard input. Asked for when left out.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Delete a user and the user's tokens.
    Delete {
        /// The name of the user.
        name: String,
    },
}

impl UserCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = Client::of_this_call()?;
        let users = Path::of(&["users"]);
        match self.action {
            UserAction::Create { name, role, password_file } => {
                let password = new_password(&format!("New password of {name}"), password_file)?;
                let body = NewUser { name, role, password };
                let answer = client.post("add the user", &users, &body)?;
                self.output.show(&answer, |_| Ok(format!("Added user {}.", body.name)))
            }
            UserAction::List => {
                let action = "list users";
                let answer = client.list(action, &users, None)?;
                self.output.show(&answer, |screen| {
                    let mut table = Table::new(&["NAME", "ROLE", "CREATED"], "There are no users.");
                    for user in view::<Vec<User>>(action, &answer["items"])? {
                        let created = relative(user.created_at, Timestamp::now());
                        table.row(vec![cell(user.name), cell(word(&user.role)), cell(created)]);
                    }
                    Ok(table.render(screen))
                })
            }
            UserAction::Role { name, role } => {
                let path = Path::of(&["users", &name]);
                let body = UserChange { role: Some(role), password: None };
                let answer = client.patch("change the user", &path, &body)?;
                self.output.show(&answer, |_| Ok(format!("User {name} is now {}.", word(&role))))
            }
            UserAction::Password { name, password_file } => {
                let path = Path::of(&["users", &name]);
                let password = new_password(&format!("New password of {name}"), password_file)?;
                let body = UserChange { role: None, password: Some(password) };
                let answer = client.patch("change the user", &path, &body)?;
                self.output.show(&answer, |_| {
                    Ok(format!(
                        "Changed the password of {name}; all sign-ins and tokens of \
                         {name} have ended."
                    ))
                })
            }
            UserAction::Delete { name } => {
                let answer = client.delete("delete the user", &Path::of(&["users", &name]))?;
                self.output.show(&answer, |_| Ok(format!("Deleted user {name}.")))
            }
        }
    }
}

fn new_password(question: &str, file: Option<PathBuf>) -> Result<String, CliError> {
    if let Some(path) = file {
        return read_secret(&path);
    }
    let first = questions::password(question)?;
    if questions::password("Again")? == first {
        return Ok(first);
    }
    Err(CliError::input("the two passwords differ; nothing was changed"))
}

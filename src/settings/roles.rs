//! Who may do what: users and groups of the machine, by role.
//!
//! Rule: a role contains those before it, in the order viewer, operator, approver, admin; a person's own entry
//! wins over those of groups, and the highest of several groups counts. Whoever has no entry is what the daemon
//! always held them for: root and the daemon's own user admin, others operator. Start at [`Roles::of`].

use super::SettingsError;
use engine::protocol::{Request, ScheduleRequest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a person may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Submit and steer runs, and stop everything in an emergency.
    Operator,
    /// Also decide at gates that ask for it.
    Approver,
    /// Also clear an emergency stop, keep house, and do drills.
    Admin,
}

impl Role {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

/// `roles:` of the settings: user name, or `@group`, to role.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Roles(BTreeMap<String, Role>);

impl Roles {
    /// Whether anybody was given a role.
    pub fn are_stated(&self) -> bool {
        !self.0.is_empty()
    }

    /// The role of `name`, who is `otherwise` without an entry.
    pub fn of(&self, name: &str, otherwise: &str) -> String {
        self.of_with(name, otherwise, &groups_of)
    }

    fn of_with(&self, name: &str, otherwise: &str, groups: &dyn Fn(&str) -> Vec<String>) -> String {
        if let Some(role) = self.0.get(name) {
            return role.name().to_owned();
        }
        let by_group = if self.0.keys().any(|key| key.starts_with('@')) { groups(name) } else { Vec::new() };
        let highest = by_group.iter().filter_map(|group| self.0.get(&format!("@{group}"))).max();
        highest.map_or(otherwise, |role| role.name()).to_owned()
    }

    /// # Errors
    /// An entry that names nobody.
    pub fn check(&self) -> Result<(), SettingsError> {
        match self.0.keys().find(|name| name.trim_start_matches('@').is_empty()) {
            Some(name) => {
                Err(SettingsError(format!("roles: {name:?} names no user (`name`) and no group (`@name`)")))
            }
            None => Ok(()),
        }
    }
}

/// Names of the groups of a user of this machine; none for a name it does not know.
fn groups_of(name: &str) -> Vec<String> {
    let Ok(Some(user)) = nix::unistd::User::from_name(name) else { return Vec::new() };
    let Ok(c_name) = std::ffi::CString::new(name) else { return Vec::new() };
    let ids = nix::unistd::getgrouplist(&c_name, user.gid).unwrap_or_else(|_| vec![user.gid]);
    let named = ids.into_iter().filter_map(|id| nix::unistd::Group::from_gid(id).ok().flatten());
    named.map(|group| group.name).collect()
}

/// The least role that a request asks for. An approval is judged at its gate, which knows the roles it wants.
pub fn least(request: &Request) -> Role {
    match request {
        Request::List(_)
        | Request::Dead { .. }
        | Request::Overview
        | Request::Jobs { .. }
        | Request::Schedule(
            ScheduleRequest::List | ScheduleRequest::Show { .. } | ScheduleRequest::Next { .. },
        )
        | Request::Show { .. }
        | Request::Events { .. }
        | Request::Follow { .. }
        | Request::Wait { .. }
        | Request::Result { .. }
        | Request::Artifact { .. }
        | Request::Resources
        | Request::Backends
        | Request::Tree
        | Request::Health
        | Request::Explain { .. }
        | Request::Deployments
        | Request::JournalVerify { .. }
        | Request::JournalHead
        | Request::Audit { .. }
        | Request::Have { .. }
        | Request::Doctor => Role::Viewer,
        // What else keeps house or drills asks for its admin itself.
        _ => Role::Operator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(text: &str) -> Roles {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn a_persons_own_entry_wins_over_groups_and_the_highest_group_counts() {
        let roles = roles("{ada: viewer, \"@wind\": operator, \"@board\": approver}");
        let groups = |_: &str| vec!["wind".to_owned(), "board".to_owned(), "other".to_owned()];
        assert_eq!(roles.of_with("ada", "operator", &groups), "viewer");
        assert_eq!(roles.of_with("bo", "operator", &groups), "approver");
        assert_eq!(roles.of_with("bo", "admin", &|_| Vec::new()), "admin");
    }

    #[test]
    fn a_role_that_does_not_exist_and_an_entry_without_a_name_are_refused() {
        assert!(serde_saphyr::from_str::<Roles>("{ada: king}").is_err());
        assert!(roles("{\"@\": admin}").check().is_err());
    }

    #[test]
    fn looking_asks_for_a_viewer_and_changing_for_an_operator() {
        assert_eq!(least(&Request::Health), Role::Viewer);
        assert_eq!(least(&Request::Resume { run: "r".to_owned() }), Role::Operator);
        assert_eq!(least(&Request::EmergencyStop { reason: "r".to_owned() }), Role::Operator);
    }
}

//! Roles of users (contract §3.5).

use std::collections::BTreeSet;

/// A role that Coredock knows, by its name in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Admin,
    Editor,
    Pipeline,
    Viewer,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Admin, Self::Editor, Self::Pipeline, Self::Viewer];

    /// The name in tokens.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Editor => "editor",
            Self::Pipeline => "pipeline",
            Self::Viewer => "viewer",
        }
    }

    /// Whether who has this role may do what `other` allows.
    const fn includes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Admin, _)
            | (Self::Editor, Self::Editor | Self::Viewer)
            | (Self::Viewer, Self::Viewer)
            | (Self::Pipeline, Self::Pipeline) => true,
            (Self::Editor | Self::Viewer | Self::Pipeline, _) => false,
        }
    }
}

/// The known roles of a token, as it holds them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

/// Why a role is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingRole {
    /// The token has no role that counts for the admin API.
    NoneRecognised,
    /// Its roles do not include the needed one.
    Insufficient,
}

impl Roles {
    /// Names that are no role are ignored.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let role = |name| Role::ALL.into_iter().find(|role| role.as_str() == name);
        Self(names.into_iter().filter_map(role).collect())
    }

    /// Checks that these roles include `needed`.
    pub fn check(&self, needed: Role) -> Result<(), MissingRole> {
        if self.0.iter().any(|role| role.includes(needed)) {
            return Ok(());
        }
        let recognised = self.0.iter().any(|role| *role != Role::Pipeline);
        let pipeline = needed == Role::Pipeline && !self.0.is_empty();
        Err(if recognised || pipeline {
            MissingRole::Insufficient
        } else {
            MissingRole::NoneRecognised
        })
    }

    /// Whether the token may use the admin API at all.
    pub fn is_recognised(&self) -> bool {
        self.check(Role::Viewer).is_ok()
    }

    /// The names, sorted.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|role| role.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_includes_what_the_contract_says_and_no_more() {
        let allowed: [(&str, &[Role]); 5] = [
            ("admin", &Role::ALL),
            ("editor", &[Role::Editor, Role::Viewer]),
            ("pipeline", &[Role::Pipeline]),
            ("viewer", &[Role::Viewer]),
            ("owner", &[]),
        ];
        for (name, allowed) in allowed {
            for needed in Role::ALL {
                let expected = allowed.contains(&needed);
                assert_eq!(
                    Roles::named([name]).check(needed).is_ok(),
                    expected,
                    "{name} {needed:?}"
                );
            }
        }
    }

    #[test]
    fn a_refusal_tells_no_role_from_the_wrong_role() {
        let missing = |names: &[&str], needed| Roles::named(names.iter().copied()).check(needed);
        assert_eq!(missing(&["owner"], Role::Viewer), Err(MissingRole::NoneRecognised));
        assert_eq!(missing(&["pipeline"], Role::Viewer), Err(MissingRole::NoneRecognised));
        assert_eq!(missing(&["viewer"], Role::Editor), Err(MissingRole::Insufficient));
        assert_eq!(missing(&["editor"], Role::Pipeline), Err(MissingRole::Insufficient));
        assert_eq!(missing(&[], Role::Pipeline), Err(MissingRole::NoneRecognised));
    }

    #[test]
    fn names_are_sorted_known_and_not_expanded() {
        let roles = Roles::named(["viewer", "offline_access", "admin", "viewer"]);
        assert_eq!(roles.names(), ["admin", "viewer"]);
    }
}

//! The allowed dependencies between crates.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use coredock_testkit::program::{output, program};

const APP: &str = "coredock";
const DOMAIN: &str = "coredock-domain";
const TESTKIT: &str = "coredock-testkit";
const DRILL: &str = "coredock-drill";
const BENCH: &str = "coredock-bench";
const XTASK: &str = "xtask";
/// The engine, a library: tools which compare or measure it may use it directly.
const SYMBOLIZER: &str = "coredock-symbolizer";
/// The port over the engine: the only adapter with a dependency besides the domain.
const SYMBOLIZER_NATIVE: &str = "coredock-symbolizer-native";

/// Implementations of ports, which must not depend on each other.
const ADAPTERS: &[&str] = &[
    "coredock-artifact-store",
    "coredock-identity",
    "coredock-notifier-mqtt",
    "coredock-repository",
    SYMBOLIZER,
    SYMBOLIZER_NATIVE,
    "coredock-symbolizer-sidecar",
];

/// Prefixes of crates for runtimes, HTTP, SQL and S3, on which the domain must not depend.
const OUTSIDE_THE_DOMAIN: &[&str] =
    &["actix", "diesel", "hyper", "object_store", "reqwest", "rust-s3", "tokio"];

#[derive(Debug, Deserialize)]
struct Workspace {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// Absent for an ordinary dependency, else `dev` or `build`.
    kind: Option<String>,
}

impl Dependency {
    fn only_for_tests(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// Fails with all forbidden dependencies.
pub(crate) fn check() -> Result<()> {
    let metadata = ["metadata", "--format-version", "1", "--no-deps"];
    let metadata = output(&mut program("cargo", &metadata))?;
    let workspace = serde_json::from_str::<Workspace>(&metadata).context("cargo metadata")?;
    let violations = violations(&workspace);
    ensure!(violations.is_empty(), "{}", violations.join("\n"));
    println!("The dependencies of all {} crates are allowed", workspace.packages.len());
    Ok(())
}

fn violations(workspace: &Workspace) -> Vec<String> {
    let members: BTreeSet<_> = workspace.packages.iter().map(|package| &*package.name).collect();
    let mut violations = Vec::new();
    for package in &workspace.packages {
        for dependency in &package.dependencies {
            let allowed = if members.contains(&*dependency.name) {
                may_use(&package.name, dependency)
            } else {
                package.name != DOMAIN || dependency.only_for_tests() || inside(dependency)
            };
            if !allowed {
                let kind = dependency.kind.as_deref().unwrap_or("ordinary");
                let (from, to) = (&package.name, &dependency.name);
                violations.push(format!("{from} must not depend on {to} ({kind} dependency)"));
            }
        }
    }
    violations
}

/// Whether a crate of the workspace may depend on another one. A crate without a rule may not.
fn may_use(package: &str, dependency: &Dependency) -> bool {
    let name = &*dependency.name;
    let testkit_in_tests = name == TESTKIT && dependency.only_for_tests();
    match package {
        DOMAIN => testkit_in_tests,
        TESTKIT => name == DOMAIN,
        DRILL => [APP, TESTKIT, DOMAIN].contains(&name),
        BENCH => [APP, TESTKIT, DOMAIN, SYMBOLIZER].contains(&name),
        XTASK => [APP, BENCH, DRILL, TESTKIT, DOMAIN, SYMBOLIZER].contains(&name),
        SYMBOLIZER_NATIVE if name == SYMBOLIZER => true,
        APP => name == DOMAIN || ADAPTERS.contains(&name) || testkit_in_tests,
        adapter if ADAPTERS.contains(&adapter) => name == DOMAIN || testkit_in_tests,
        _ => false,
    }
}

fn inside(dependency: &Dependency) -> bool {
    !OUTSIDE_THE_DOMAIN.iter().any(|outside| dependency.name.starts_with(outside))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a crate with one dependency is a violation, in a workspace with all other crates.
    fn found(package: &str, dependency: &str, kind: Option<&str>) -> bool {
        let others = [APP, DOMAIN, TESTKIT, DRILL, BENCH, XTASK];
        let others = others.into_iter().chain(ADAPTERS.iter().copied());
        let dependency = Dependency { name: dependency.into(), kind: kind.map(str::to_owned) };
        let mut packages: Vec<_> =
            others.map(|name| Package { name: name.into(), dependencies: vec![] }).collect();
        packages.push(Package { name: package.into(), dependencies: vec![dependency] });
        !violations(&Workspace { packages }).is_empty()
    }

    #[test]
    fn this_workspace_keeps_its_layers() {
        check().unwrap();
    }

    #[test]
    fn adapters_depend_on_the_domain_and_on_no_other_crate() {
        assert!(!found("coredock-repository", DOMAIN, None));
        assert!(!found("coredock-repository", TESTKIT, Some("dev")));
        assert!(found("coredock-repository", TESTKIT, None));
        assert!(found("coredock-repository", "coredock-artifact-store", Some("dev")));
        assert!(found("coredock-repository", APP, None));
        assert!(!found(SYMBOLIZER_NATIVE, SYMBOLIZER, None));
        assert!(found(SYMBOLIZER, SYMBOLIZER_NATIVE, None));
        assert!(!found(APP, "coredock-repository", None));
        assert!(!found(DOMAIN, TESTKIT, Some("dev")));
        assert!(found(DOMAIN, TESTKIT, None));
        assert!(found("coredock-new", DOMAIN, None));
    }

    #[test]
    fn only_its_port_the_app_and_the_tools_depend_on_the_engine() {
        assert!(!found(SYMBOLIZER_NATIVE, SYMBOLIZER, None));
        assert!(!found(APP, SYMBOLIZER, None));
        assert!(!found(BENCH, SYMBOLIZER, None));
        assert!(found(SYMBOLIZER, SYMBOLIZER_NATIVE, None));
        assert!(found("coredock-symbolizer-sidecar", SYMBOLIZER, Some("dev")));
        assert!(found(DRILL, SYMBOLIZER, None));
    }

    #[test]
    fn the_product_depends_on_development_crates_in_tests_only() {
        assert!(found(APP, DRILL, Some("dev")));
        assert!(found(APP, BENCH, Some("dev")));
        assert!(!found(APP, TESTKIT, Some("dev")));
        assert!(found(APP, TESTKIT, None));
        assert!(found(TESTKIT, APP, Some("dev")));
        assert!(!found(DRILL, APP, None));
        assert!(!found(XTASK, DRILL, None));
    }

    #[test]
    fn the_domain_depends_on_no_runtime_and_no_server() {
        assert!(found(DOMAIN, "tokio-util", None));
        assert!(found(DOMAIN, "actix-web", Some("build")));
        assert!(!found(DOMAIN, "tokio", Some("dev")));
        assert!(!found(DOMAIN, "serde", None));
        assert!(!found("coredock-repository", "diesel", None));
    }
}

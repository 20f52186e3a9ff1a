//! Paths without the parts that depend on the build machine.

/// The directory of the framework; a version may follow.
const FRAMEWORK: &str = "esp-idf";
/// Directory of a build within a project.
const BUILD: &str = "/build";

/// The path within the framework, or within the project that was compiled in `directory`; other
/// paths unchanged.
pub(crate) fn shorten(path: &str, directory: &str) -> String {
    let path = without_steps_up(path);
    if let Some(within) = within_framework(&path) {
        return within.to_owned();
    }
    let root = project_of(directory);
    match path.strip_prefix(root).and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) if !root.is_empty() && !rest.is_empty() => rest.to_owned(),
        _ => path,
    }
}

/// From the directory of the framework on, if `components` is in it.
fn within_framework(path: &str) -> Option<&str> {
    let components = path.find("/components/")?;
    let start = path.get(..components)?.rfind('/').map_or(0, |slash| slash + 1);
    let within = path.get(start..)?;
    let named = ["", "-v", "-release"].iter().any(|suffix| {
        let rest = within.strip_prefix(FRAMEWORK).and_then(|rest| rest.strip_prefix(suffix));
        rest.is_some_and(|rest| !suffix.is_empty() || rest.starts_with('/'))
    });
    (named || within.starts_with("IDF/")).then_some(within)
}

/// ESP-IDF compiles in `build` of a project or below it.
fn project_of(directory: &str) -> &str {
    let directory = directory.trim_end_matches('/');
    let build = directory.find("/build/").or_else(|| {
        let root = directory.strip_suffix(BUILD)?;
        Some(root.len())
    });
    build.and_then(|end| directory.get(..end)).unwrap_or(directory)
}

/// `a/b/../c` as `a/c`.
fn without_steps_up(path: &str) -> String {
    if !path.contains("/.") {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." if parts.last().is_some_and(|last| !last.is_empty() && *last != "..") => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::shorten;

    #[test]
    fn paths_begin_at_the_project_or_the_framework() {
        let idf = "/home/a/esp/esp-idf/components/freertos/tasks.c";
        let (build, below) = ("/home/a/demo/build", "/home/a/demo/build/esp-idf/main");
        assert_eq!(shorten(idf, build), "esp-idf/components/freertos/tasks.c");
        assert_eq!(shorten("/IDF/components/log/log.c", build), "IDF/components/log/log.c");
        assert_eq!(shorten("/home/a/demo/main/app.c", build), "main/app.c");
        assert_eq!(shorten("/home/a/demo/main/app.c", below), "main/app.c");
        assert_eq!(shorten("/home/a/demo/build/../main/./b.c", build), "main/b.c");
        assert_eq!(shorten("/project/main/app.c", "/project"), "main/app.c");
        assert_eq!(shorten("/opt/gcc/libgcc/div.c", build), "/opt/gcc/libgcc/div.c");
        assert_eq!(shorten("main/b.c", ""), "main/b.c");
        let other = "/home/a/esp-idf-demo/components/x/x.c";
        assert_eq!(shorten(other, "/home/a/esp-idf-demo/build"), "components/x/x.c");
        assert_eq!(shorten("/home/a/demolition/x.c", "/home/a/demo"), "/home/a/demolition/x.c");
    }
}

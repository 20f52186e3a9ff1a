//! Finds the rows of a path before the router does: the class of a request and the limit of its
//! body must be known before the body is read.

use std::collections::HashMap;

use actix_web::dev::ResourceDef;
use actix_web::http::Method;

use super::row::{Body, Class, Role, RouteFacts, Row};
use super::{AREAS, pattern};

/// The route table by path.
pub struct RouteLookup {
    /// Paths without parameters; nearly all requests are for these.
    fixed: HashMap<&'static str, PathRows>,
    others: Vec<(ResourceDef, PathRows)>,
}

/// The rows of one path.
type PathRows = Vec<RouteFacts>;

/// The class and the rows of a path.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    pub class: Class,
    rows: &'a [RouteFacts],
}

impl RouteLookup {
    /// The rows of one path must be adjacent.
    pub fn new(rows: &[Row]) -> Self {
        let mut map = Self { fixed: HashMap::new(), others: Vec::new() };
        for rows in rows.chunk_by(|a, b| a.facts.path == b.facts.path) {
            let path = rows[0].facts.path;
            let facts = rows.iter().map(|row| row.facts.clone()).collect();
            if path.contains('{') {
                map.others.push((ResourceDef::new(pattern(path)), facts));
            } else {
                map.fixed.insert(path, facts);
            }
        }
        map
    }

    /// `path` must be decoded, as it is for the router.
    pub fn find(&self, path: &str) -> Found<'_> {
        let other = || self.others.iter().find(|(pattern, _)| pattern.is_match(path));
        let rows = self.fixed.get(path).or_else(|| other().map(|(_, rows)| rows));
        let rows = rows.map_or(&[][..], Vec::as_slice);
        let class = rows.first().map_or_else(|| class_of_unknown(path), |row| row.class);
        Found { class, rows }
    }
}

fn class_of_unknown(path: &str) -> Class {
    let area = AREAS.iter().find(|area| path.starts_with(area.prefix));
    area.map_or(Class::Operator, |area| area.class)
}

impl Found<'_> {
    /// The pattern of the path, as metrics and logs show it.
    pub fn label(&self) -> &'static str {
        self.rows.first().map_or("unknown", |row| row.path)
    }

    pub fn is_quiet(&self) -> bool {
        self.rows.iter().any(|row| row.quiet)
    }

    /// The body that a request with this method has.
    pub fn body(&self, method: &Method) -> Body {
        self.row(method).map_or(Body::Ignored, |row| row.body)
    }

    /// Who may call the path with this method; `None` if the answer is that it does not exist.
    pub fn role(&self, method: &Method) -> Option<Role> {
        self.row(method).map(|row| row.role)
    }

    fn row(&self, method: &Method) -> Option<&RouteFacts> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.rows.iter().find(|row| row.method == *method)
    }
}

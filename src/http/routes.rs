//! Which pool answers which path: one form of table for all HTTP planes.

use std::str::FromStr;

use crate::model::Pool;

/// One line of a table: `PREFIX POOL`, or `PREFIX POOL strip`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Whole segments at the beginning of a path; `/` is all paths.
    pub prefix: String,
    /// Who answers.
    pub pool: Pool,
    /// Whether the prefix is taken off on the way.
    pub strip: bool,
}

/// A text that is no route.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a route: expected \"PREFIX POOL\" or \"PREFIX POOL strip\", the prefix with a slash in front")]
pub struct MalformedRoute;

impl FromStr for Route {
    type Err = MalformedRoute;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_ascii_whitespace();
        let (Some(prefix), Some(pool), strip, None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(MalformedRoute);
        };
        let plain = prefix.starts_with('/') && !prefix.contains(['?', '#', '%']) && !prefix.contains("//");
        if !plain || strip.is_some_and(|word| word != "strip") {
            return Err(MalformedRoute);
        }
        let prefix = prefix.trim_end_matches('/').to_owned();
        Ok(Self { prefix, pool: Pool::new(pool), strip: strip.is_some() })
    }
}

/// Routes, the longest prefix first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// The table of `routes`; of two with one prefix the first counts.
    pub fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        Self(routes)
    }

    /// The route of a target (path and query) and, if its prefix is taken off, what is left.
    pub fn find<'t>(&self, target: &'t str) -> Option<(&Route, Option<&'t str>)> {
        let route = self.0.iter().find(|route| {
            target
                .strip_prefix(&route.prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
        })?;
        let left = (route.strip && !route.prefix.is_empty()).then(|| &target[route.prefix.len()..]);
        Some((route, left))
    }

    /// The pools named.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.0.iter().map(|route| &route.pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(lines: &[&str]) -> Routes {
        Routes::new(lines.iter().map(|line| line.parse().expect(line)).collect())
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let table = routes(&["/ mps", "/rps rps strip", "/rps/admin mps"]);
        for (target, pool, left) in [
            ("/api/v1/devices", "mps", None),
            ("/", "mps", None),
            ("/rps", "rps", Some("")),
            ("/rps/api/v1/admin/health?x", "rps", Some("/api/v1/admin/health?x")),
            ("/rps?x=1", "rps", Some("?x=1")),
            ("/rpsx", "mps", None),
            ("/rps/admin/1", "mps", None),
        ] {
            let (route, rest) = table.find(target).expect(target);
            assert_eq!((route.pool.clone(), rest), (Pool::new(pool), left), "{target}");
        }
        assert_eq!(routes(&["/activate rps"]).find("/other"), None);
    }

    #[test]
    fn what_is_no_route_says_so() {
        for text in [
            "",
            "/",
            "rps rps",
            "/rps rps stripped",
            "/rps rps strip x",
            "/a?b rps",
            "/a%2f rps",
            "/a//b rps",
        ] {
            assert_eq!(text.parse::<Route>(), Err(MalformedRoute), "{text:?}");
        }
    }
}

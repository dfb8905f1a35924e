//! Spliced sessions: legacy TLS, relayed as it is. Neither a GUID nor a proof is known of them.
//!
//! Since nobody here ever learns whether one is a device, none earns its place: there are at most so
//! many, and the source that has the most gives its youngest up to a source that has clearly fewer. So
//! one attacker's address cannot keep the devices of other addresses out, however long it stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::model::{InstanceName, Source};
use crate::net::traffic::Traffic;

/// One spliced session, or one that waits for an instance to be spliced to.
#[derive(Debug)]
pub struct Spliced {
    /// Where it calls from (behind the balancer).
    pub source: Source,
    /// What flows.
    pub traffic: Arc<Traffic>,
    instance: OnceLock<InstanceName>,
    shown_out: CancellationToken,
}

/// All places are taken, and no source has clearly more of them than this one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("as many sessions are spliced as may be")]
pub struct Full;

/// The table. No lock is held across an await.
#[derive(Default)]
pub struct Splices {
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    last_id: u64,
    all: BTreeMap<u64, Arc<Spliced>>,
    by_source: HashMap<Source, BTreeSet<u64>>,
    /// Sources by how many they have.
    order: BTreeSet<(usize, Source)>,
}

/// A place in the table; dropping it frees it.
pub struct Splice {
    /// The session.
    pub session: Arc<Spliced>,
    id: u64,
    table: Arc<Splices>,
}

impl Splices {
    /// A place for a session from `source` among at most `max`. `shown_out` is cancelled if it has to
    /// make room for another source's.
    pub fn enter(
        self: &Arc<Self>,
        source: Source,
        traffic: Arc<Traffic>,
        shown_out: CancellationToken,
        max: usize,
    ) -> Result<Splice, Full> {
        let session = Arc::new(Spliced { source, traffic, instance: OnceLock::new(), shown_out });
        let mut places = self.places.lock();
        let other = if places.all.len() < max { None } else { Some(places.make_room(source)?) };
        let id = places.insert(Arc::clone(&session));
        drop(places);
        if let Some(other) = other {
            other.shown_out.cancel();
        }
        Ok(Splice { session, id, table: Arc::clone(self) })
    }

    /// How many there are, those that wait for an instance included.
    pub fn len(&self) -> usize {
        self.places.lock().all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everyone.
    pub fn all(&self) -> Vec<Arc<Spliced>> {
        self.places.lock().all.values().cloned().collect()
    }

    /// How many end at `instance`. Walks them all.
    pub fn at(&self, instance: &InstanceName) -> usize {
        let ends_there = |session: &&Arc<Spliced>| session.instance.get() == Some(instance);
        self.places.lock().all.values().filter(ends_there).count()
    }
}

impl Places {
    /// Takes out the youngest of the source that has the most.
    fn make_room(&mut self, source: Source) -> Result<Arc<Spliced>, Full> {
        let own = self.by_source.get(&source).map_or(0, BTreeSet::len);
        let (most, greediest) = *self.order.last().ok_or(Full)?;
        if most <= own + 1 {
            return Err(Full); // else two sources would throw each other out for ever
        }
        let youngest = *self.by_source[&greediest].last().expect("a source stands here while it has one");
        Ok(self.remove(youngest).expect("both tables hold the same"))
    }

    fn insert(&mut self, session: Arc<Spliced>) -> u64 {
        self.last_id += 1;
        let ids = self.by_source.entry(session.source).or_default();
        self.order.remove(&(ids.len(), session.source));
        ids.insert(self.last_id);
        self.order.insert((ids.len(), session.source));
        self.all.insert(self.last_id, session);
        self.last_id
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Spliced>> {
        let session = self.all.remove(&id)?;
        let ids = self.by_source.get_mut(&session.source).expect("both tables hold the same");
        self.order.remove(&(ids.len(), session.source));
        ids.remove(&id);
        if ids.is_empty() {
            self.by_source.remove(&session.source);
        } else {
            self.order.insert((ids.len(), session.source));
        }
        Some(session)
    }
}

impl Splice {
    /// It ends at `instance`, from now until its end.
    pub fn ends_at(&self, instance: &InstanceName) {
        self.session.instance.get_or_init(|| instance.clone());
    }
}

impl Drop for Splice {
    fn drop(&mut self) {
        self.table.places.lock().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(last: u8) -> Source {
        Source::of([203, 0, 113, last].into())
    }

    fn enter(table: &Arc<Splices>, last: u8, max: usize) -> Result<Splice, Full> {
        table.enter(source(last), Arc::new(Traffic::begin()), CancellationToken::new(), max)
    }

    fn shown_out(splice: &Splice) -> bool {
        splice.session.shown_out.is_cancelled()
    }

    #[tokio::test]
    async fn a_place_is_free_when_its_session_is_over() {
        let table = Arc::new(Splices::default());
        let splice = enter(&table, 1, 1).expect("room");
        let instance = "a".parse().expect("a name");
        assert_eq!(table.at(&instance), 0);
        splice.ends_at(&instance);
        assert_eq!((table.len(), table.at(&instance), table.all().len()), (1, 1, 1));
        assert!(enter(&table, 1, 1).is_err_and(|full| full == Full), "nobody makes room for its own source");
        drop(splice);
        assert!(table.is_empty() && enter(&table, 1, 1).is_ok());
        let places = table.places.lock();
        assert!(places.by_source.is_empty() && places.order.is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn the_source_with_the_most_gives_its_youngest_up_until_all_have_their_share() {
        let table = Arc::new(Splices::default());
        let mut greedy: Vec<_> = (0..9).map(|_| enter(&table, 1, 9).expect("room")).collect();
        let others: Vec<_> = (0..4).map(|_| enter(&table, 2, 9).expect("made")).collect();
        assert!(enter(&table, 2, 9).is_err(), "5 and 4 are even enough");
        assert_eq!(
            greedy.iter().map(shown_out).collect::<Vec<_>>(),
            [vec![false; 5], vec![true; 4]].concat()
        );
        assert!(!others.iter().any(shown_out));
        greedy.truncate(5);
        assert_eq!(table.len(), 9, "who was shown out had no place any more");
        let third = enter(&table, 3, 9).expect("from the greediest");
        assert!(shown_out(&greedy[4]) && !shown_out(&third) && table.len() == 9);
    }

    proptest! {
        #[test]
        fn whoever_comes_and_goes_the_bound_holds_and_the_tables_agree(
            steps in prop::collection::vec((0..5_u8, prop::option::of(any::<prop::sample::Index>())), 0..80),
            max in 1..7_usize,
        ) {
            let table = Arc::new(Splices::default());
            let mut there: Vec<Splice> = Vec::new();
            for (last, leaves) in steps {
                if let Some(leaves) = leaves.filter(|_| !there.is_empty()) {
                    there.swap_remove(leaves.index(there.len())); // whether shown out or not
                    continue;
                }
                let counts = || -> HashMap<Source, usize> {
                    let places = table.places.lock();
                    places.by_source.iter().map(|(source, ids)| (*source, ids.len())).collect()
                };
                let before = counts();
                let own = before.get(&source(last)).copied().unwrap_or(0);
                match enter(&table, last, max) {
                    Ok(splice) => there.push(splice),
                    Err(Full) => prop_assert!(
                        table.len() >= max && before.values().all(|count| *count <= own + 1),
                        "refused with {} of {:?}", own, before
                    ),
                }
                let live = there.iter().filter(|splice| !shown_out(splice)).count();
                prop_assert_eq!(table.len(), live);
                prop_assert!(live <= max);
                let by_count = counts().into_iter().map(|(source, count)| (count, source)).collect();
                prop_assert_eq!(&table.places.lock().order, &by_count);
            }
        }
    }

    #[tokio::test]
    async fn fewer_places_after_a_reload_end_nobody() {
        let table = Arc::new(Splices::default());
        let there: Vec<_> = (0..4).map(|last| enter(&table, last, 4).expect("room")).collect();
        assert!(enter(&table, 9, 2).is_err());
        assert!(!there.iter().any(shown_out) && table.len() == 4);
        assert!(enter(&table, 9, 0).is_err() && enter(&Arc::new(Splices::default()), 9, 0).is_err());
    }
}

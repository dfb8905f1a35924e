use super::*;
use crate::instances::State;
use crate::model::Endpoint;

fn known(name: &str) -> Known {
    let instance =
        Instance::mps(name.parse().expect(name), Endpoint::new(name, 4433), Endpoint::new(name, 3000));
    Known { instance: Arc::new(instance), sessions: 0, avoided: false }
}

fn with(mut known: Known, change: impl FnOnce(&mut Instance)) -> Known {
    change(Arc::make_mut(&mut known.instance));
    known
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

fn fleet() -> Vec<Known> {
    vec![known("a"), known("b"), known("c")]
}

fn owner(name: &str) -> Ownership {
    Ownership::Owner(name.parse().expect(name))
}

/// Where a device may go, in order, and why.
fn stops(device: DeviceId, owner: &Ownership, known: Vec<Known>) -> Vec<(String, Why)> {
    let weighed = weigh(device.as_bytes(), owner, known).into_iter();
    weighed.filter_map(|w| Some((w.instance.name.to_string(), w.verdict.ok()?))).collect()
}

fn rendezvous(device: DeviceId) -> Vec<String> {
    stops(device, &Ownership::Nobody, fleet()).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_device_without_an_owner_goes_by_rendezvous() {
    let orders: std::collections::BTreeSet<_> = (0..40).map(|d| rendezvous(device(d))).collect();
    assert!(orders.len() > 3, "{orders:?}");
    assert!(stops(device(0), &Ownership::Nobody, fleet()).iter().all(|(_, why)| *why == Why::Placed));
}

#[test]
fn a_device_goes_back_to_its_owner_whatever_the_scores_say() {
    for number in 0..10 {
        let last = rendezvous(device(number)).pop().expect("three stops");
        let stops = stops(device(number), &owner(&last), fleet());
        assert_eq!(stops[0], (last, Why::Owner));
        assert_eq!(stops.len(), 3, "the others are there in case it cannot be reached");
        assert!(stops[1..].iter().all(|(_, why)| *why == Why::Placed));
    }
}

#[test]
fn an_owner_that_is_unusable_full_or_unknown_is_no_reason() {
    let d = device(1);
    let others = |known: Vec<Known>| -> Vec<_> { stops(d, &owner("b"), known) };
    for unusable in [
        with(known("b"), |b| b.state = State::Down),
        with(known("b"), |b| b.state = State::Draining),
        with(known("b"), |b| b.weight = 0.0),
        with(Known { sessions: 5, ..known("b") }, |b| b.max_sessions = Some(5)),
        Known { avoided: true, ..known("b") },
    ] {
        let stops = others(vec![known("a"), unusable, known("c")]);
        assert_eq!(stops.len(), 2, "{stops:?}");
        assert!(stops.iter().all(|(name, why)| name != "b" && *why == Why::Placed), "{stops:?}");
    }
    let crowded = Known { sessions: 1_000, ..known("b") };
    let stops_of_crowded = others(vec![known("a"), crowded, known("c")]);
    assert_eq!(stops_of_crowded[2], ("b".to_owned(), Why::OverCap), "above the cap it is the last resort");
    let elsewhere = stops(d, &owner("swarm_mps.1.x"), fleet());
    assert_eq!(elsewhere.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), rendezvous(d));
}

#[test]
fn who_is_at_the_cap_is_passed_over_until_everyone_is() {
    let d = device(2);
    let order = rendezvous(d);
    let crowd = |crowded: &[usize]| {
        let sessions = |name: &str| if crowded.iter().any(|c| order[*c] == name) { 10_000 } else { 0 };
        fleet().into_iter().map(|k| Known { sessions: sessions(k.instance.name.as_str()), ..k }).collect()
    };
    let first = |crowded: &[usize]| stops(d, &Ownership::Nobody, crowd(crowded)).swap_remove(0);
    assert_eq!(first(&[]), (order[0].clone(), Why::Placed));
    assert_eq!(first(&[0]), (order[1].clone(), Why::Placed));
    assert_eq!(first(&[0, 1]), (order[2].clone(), Why::Placed));

    let full = |known: Known| with(Known { sessions: 9, ..known }, |i| i.max_sessions = Some(9));
    let everyone_full = fleet().into_iter().map(full).collect();
    assert_eq!(stops(d, &Ownership::Nobody, everyone_full), [], "a hard limit is hard");
    let two_full = fleet().into_iter().map(|k| {
        if k.instance.name.as_str() == order[1] { Known { sessions: 30_000, ..k } } else { full(k) }
    });
    let mut known: Vec<_> = two_full.collect();
    known.push(with(known_draining(), |i| i.weight = 1.0));
    assert_eq!(stops(d, &Ownership::Nobody, known), [(order[1].clone(), Why::OverCap)]);
}

fn known_draining() -> Known {
    with(known("d"), |d| d.state = State::Draining)
}

#[test]
fn without_a_directory_every_replica_computes_the_same_whatever_it_counted() {
    for number in 0..20 {
        let d = device(number);
        let counted = fleet().into_iter().zip([0, 70_000, 12]).map(|(k, sessions)| Known { sessions, ..k });
        let stops = stops(d, &Ownership::Away, counted.collect());
        assert!(stops.iter().all(|(_, why)| *why == Why::DirectoryAway), "{stops:?}");
        assert_eq!(stops.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), rendezvous(d));
    }
}

/// Where a source may go, in order.
fn stops_of(source: &str, known: Vec<Known>) -> Vec<String> {
    let source = Source::of(source.parse().expect(source));
    let stops = itinerary(weigh(source.as_bytes(), &Ownership::Unasked, known)).stops;
    assert!(stops.iter().all(|(_, why)| *why == Why::Source), "{stops:?}");
    stops.into_iter().map(|(instance, _)| instance.name.to_string()).collect()
}

#[test]
fn a_source_stays_with_its_instance_as_others_come_and_go_and_fill() {
    let mut firsts = std::collections::BTreeSet::new();
    for last in 0..40 {
        let source = format!("203.0.113.{last}");
        let order = stops_of(&source, fleet());
        firsts.insert(order[0].clone());
        let crowded = |k: Known| Known { sessions: 50_000, ..k };
        assert_eq!(stops_of(&source, fleet().into_iter().map(crowded).collect()), order);
        for gone in ["a", "b", "c"] {
            let left = fleet().into_iter().filter(|k| k.instance.name.as_str() != gone).collect();
            let expected: Vec<_> = order.iter().filter(|name| *name != gone).cloned().collect();
            assert_eq!(stops_of(&source, left), expected, "only those of {gone} move, to their second");
        }
    }
    assert_eq!(firsts.len(), 3, "sources spread: {firsts:?}");
}

#[test]
fn a_source_goes_to_nobody_who_takes_no_new_devices() {
    for unusable in [
        with(known("b"), |b| b.state = State::Down),
        with(known("b"), |b| b.state = State::Draining),
        with(known("b"), |b| b.weight = 0.0),
        with(Known { sessions: 5, ..known("b") }, |b| b.max_sessions = Some(5)),
        Known { avoided: true, ..known("b") },
    ] {
        assert_eq!(stops_of("2001:db8::1", vec![known("a"), unusable]), ["a"]);
    }
    assert_eq!(stops_of("2001:db8::1", vec![]), [""; 0]);
}

#[test]
fn an_explanation_names_everyone_once_and_why_not() {
    let fleet = vec![
        known("a"),
        with(known("b"), |b| b.state = State::Down),
        known_draining(),
        Known { avoided: true, ..known("e") },
        with(known("f"), |f| f.weight = 0.0),
        Known { sessions: 5_000, ..known("g") },
        known("h"),
    ];
    let weighed = weigh(device(3).as_bytes(), &owner("a"), fleet).into_iter().enumerate();
    let lines: Vec<_> = weighed.map(|(place, w)| considered(place, w)).collect();
    let mut told: Vec<_> = lines.iter().map(|l| (l.instance.as_str(), l.passed_over)).collect();
    assert_eq!(told[0], ("a", None));
    told.sort_unstable();
    assert_eq!(
        told,
        [
            ("a", None),
            ("b", Some("down")),
            ("d", Some("draining")),
            ("e", Some("avoided")),
            ("f", Some("no-weight")),
            ("g", Some("at-cap")),
            ("h", Some("outranked")),
        ]
    );
    assert!(lines.iter().all(|l| l.score.is_finite()), "JSON has no infinity");
}

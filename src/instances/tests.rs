#![allow(clippy::disallowed_methods, reason = "tests wait for their own tasks")]

use tokio::time::timeout;

use super::*;

fn instance(name: &str) -> Instance {
    Instance::mps(name.parse().expect(name), Endpoint::new(name, 4433), Endpoint::new(name, 3000))
}

fn settings(names: &[&str]) -> Settings {
    Settings {
        list: names.iter().map(|n| instance(n)).collect(),
        avoid: Duration::from_secs(5),
        connects_in_flight: 3,
        connects_per_second: 10,
    }
}

fn name(text: &str) -> InstanceName {
    text.parse().expect(text)
}

const SOON: Duration = Duration::from_millis(1);

#[test]
fn a_snapshot_is_by_name_and_names_are_told_apart() {
    let snapshot = Snapshot::new(vec![instance("b"), instance("a"), instance("b"), instance("c")]);
    assert_eq!(snapshot.instances.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(snapshot.get(&name("b")).expect("b is there").name.as_str(), "b");
    assert!(snapshot.get(&name("d")).is_none());
}

#[tokio::test(start_paused = true)]
async fn so_many_connects_at_once_and_a_permit_comes_back_when_dropped() {
    let instances = Instances::new(Settings { connects_per_second: 1_000, ..settings(&["a", "b"]) });
    let held: Vec<_> = (0..3).map(|_| instances.connect_permit(&name("a")).expect("room")).collect();
    assert_eq!(instances.connect_permit(&name("a")).unwrap_err(), Busy::InFlight);
    assert!(instances.connect_permit(&name("b")).is_ok(), "another instance has room of its own");
    drop(held);
    assert!(instances.connect_permit(&name("a")).is_ok());
    assert_eq!(instances.connect_permit(&name("c")).unwrap_err(), Busy::Unknown);
}

#[tokio::test(start_paused = true)]
async fn so_many_connects_a_second_over_ten_seconds() {
    let instances = Instances::new(settings(&["a"]));
    let (began, mut connects) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(10) {
        match instances.connect_permit(&name("a")) {
            Ok(_permit) => connects += 1,
            Err(busy) => {
                assert_eq!(busy, Busy::Rate);
                tokio::time::sleep(SOON).await;
            }
        }
    }
    assert!((100..=102).contains(&connects), "{connects} connects in 10 s at 10 a second");
}

#[tokio::test(start_paused = true)]
async fn turns_come_in_order_and_nobody_overtakes_the_line() {
    let instances = Arc::new(Instances::new(settings(&["a"])));
    while instances.connect_permit(&name("a")).is_ok() {}
    let (tell, mut told) = tokio::sync::mpsc::channel(20);
    for number in 0..20 {
        let (instances, tell) = (Arc::clone(&instances), tell.clone());
        tokio::spawn(async move {
            let _permit = instances.turn(&name("a"), async {}).await.expect("a is well");
            tell.send((number, Instant::now())).await.expect("the test listens");
        });
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    for number in 0..20 {
        assert!(
            number == 19 || instances.connect_permit(&name("a")).is_err(),
            "whoever asks now would overtake {number}"
        );
        let (first, at) = told.recv().await.expect("all get their turn");
        assert_eq!(first, number);
        assert!(
            at - began <= Duration::from_millis(100 * (number + 1) + 10),
            "{number} after {:?}",
            at - began
        );
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_connect_an_instance_is_avoided_for_a_while() {
    let instances = Instances::new(settings(&["a", "b"]));
    instances.connect_failed(&name("a"));
    assert!(instances.avoided(&name("a")) && !instances.avoided(&name("b")));
    assert_eq!(instances.connect_permit(&name("a")).unwrap_err(), Busy::Avoided);
    assert_eq!(instances.turn(&name("a"), async {}).await.unwrap_err(), Busy::Avoided);
    tokio::time::advance(Duration::from_secs(5) + SOON).await;
    assert!(instances.connect_permit(&name("a")).is_ok());
    instances.connect_failed(&name("a"));
    instances.connect_succeeded(&name("a"));
    assert!(instances.connect_permit(&name("a")).is_ok(), "one success is enough");
}

#[tokio::test(start_paused = true)]
async fn the_line_dissolves_when_its_instance_fails() {
    let instances = Arc::new(Instances::new(settings(&["a"])));
    let held: Vec<_> = std::iter::from_fn(|| instances.connect_permit(&name("a")).ok()).collect();
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let instances = Arc::clone(&instances);
            tokio::spawn(async move { instances.turn(&name("a"), async {}).await.map(drop) })
        })
        .collect();
    tokio::task::yield_now().await;
    instances.connect_failed(&name("a"));
    drop(held);
    for waiting in waiting {
        assert_eq!(waiting.await.expect("no panic"), Err(Busy::Avoided));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_somebody_hears_of_a_new_list_a_success_and_the_end_of_avoidance() {
    let instances = Instances::new(settings(&[]));
    let mps = Pool::mps();
    let somebody = || timeout(SOON, instances.somebody(&mps));
    assert!(somebody().await.is_err(), "nobody is there");
    let (heard, ()) = tokio::join!(somebody(), async { instances.replace(settings(&["a"])) });
    heard.expect("the new list is heard of");

    instances.connect_failed(&name("a"));
    assert!(somebody().await.is_err(), "the only one is avoided");
    let (heard, ()) = tokio::join!(somebody(), async { instances.connect_succeeded(&name("a")) });
    heard.expect("the success is heard of");

    instances.connect_failed(&name("a"));
    let began = Instant::now();
    instances.somebody(&Pool::mps()).await;
    assert!(began.elapsed() >= Duration::from_secs(5) && began.elapsed() < Duration::from_millis(5_100));
    let mut weightless = settings(&["a"]);
    weightless.list[0].weight = 0.0;
    instances.replace(weightless);
    assert!(somebody().await.is_err(), "who has no weight takes nobody");
    let (heard, ()) = tokio::join!(somebody(), async { instances.replace(settings(&["a"])) });
    heard.expect("its weight is heard of");
    assert!(timeout(SOON, instances.somebody(&Pool::new("rps"))).await.is_err(), "pools are apart");
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_is_known_of_instances_that_stay() {
    let instances = Instances::new(settings(&["a", "b"]));
    instances.connect_failed(&name("a"));
    let _held: Vec<_> = (0..2).map(|_| instances.connect_permit(&name("b")).expect("room")).collect();
    instances.replace(settings(&["a", "b", "c"]));
    assert!(instances.avoided(&name("a")));
    assert_eq!(
        instances.connect_permit(&name("b")).unwrap_err(),
        Busy::Rate,
        "still two a fifth of a second"
    );
    instances.replace(Settings { connects_per_second: 100, ..settings(&["a", "c"]) });
    assert!(instances.avoided(&name("a")), "new bounds do not make it well");
    assert_eq!(instances.connect_permit(&name("b")).unwrap_err(), Busy::Unknown);
    assert!(instances.snapshot().get(&name("c")).is_some());
}

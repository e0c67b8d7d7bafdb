//! What waits for its time.

use super::*;

#[test]
fn what_waits_for_its_time_is_due_by_the_wall_clock() {
    let mut agenda = Bench::new(16, [1]).agenda;
    agenda.owe(id(1), at(0));
    let mut now = wall(1_000);
    assert_eq!(agenda.due(MINE, now, at(1_000)).len(), 1);
    let due = wall(1_000).saturating_add(FUTURE_MAX);
    agenda.ended(id(1), waiting(Some(due)), at(1_000));
    let ask = |agenda: &mut Agenda, now: Timestamp, millis| {
        let due = agenda.due(MINE, now, at(millis));
        for (peer, opening) in &due {
            let in_an_hour = now.saturating_add(Duration::from_secs(3_600));
            let falls_due = (*opening == Opening::Check).then_some(in_an_hour);
            agenda.ended(*peer, waiting(falls_due), at(millis));
        }
        due
    };
    assert_eq!(agenda.next_due(), Some(at(2_000)), "the clock may step at any time");
    assert_eq!(ask(&mut agenda, now, 1_500), []);
    // Owed meanwhile: as cheap as between equals.
    agenda.owe(id(1), at(2_000));
    assert_eq!(ask(&mut agenda, now, 3_000), [(id(1), Opening::Recheck(SETTLED))]);
    assert_eq!(ask(&mut agenda, now, 4_000), []);
    // The clock steps to where it is due, far ahead of the time that went by.
    now = due;
    assert_eq!(ask(&mut agenda, now, 5_000), [(id(1), Opening::Check)]);
    assert_eq!(ask(&mut agenda, now, 6_000), []);
    // Back, and nothing happens; nor is a settled difference believed for ever.
    assert_eq!(ask(&mut agenda, wall(1), 20_000), []);
    let later = ask(&mut agenda, wall(1), 5_000 + 600_000);
    assert_eq!(later, [(id(1), Opening::Check)]);
}

#[test]
fn a_side_that_did_not_see_what_waits_looks_for_itself() {
    let mut bench = Bench::new(17, [1]);
    bench.agenda.asks(id(1));
    bench.agenda.ended(id(1), waiting(None), at(0));
    bench.run(29_900, |_| Some(waiting(Some(wall(2_000)))));
    assert_eq!(bench.opened.len(), 1);
    assert_eq!(bench.opened[0].2, Opening::Check);
}

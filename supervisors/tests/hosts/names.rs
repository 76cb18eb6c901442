//! The registry: names given at the start, kept over restarts, free when the child is down for good.

use actix::prelude::*;
use std::time::Duration;

use supervisors::{
    ActorRef, AlreadyRegistered, AskError, ChildError, ChildSpec, Exit, LookupError, Named, Registry,
    Restart, Strategy, SupervisorSpec, TellError, Teller, actor_child, start, supervisor_child,
};

use crate::support::{PATIENCE, in_real_time, restarted, supervisor, until};

struct Clerk;

impl Actor for Clerk {
    type Context = Context<Self>;
}

impl Supervised for Clerk {}

#[derive(Message, Debug, PartialEq)]
#[rtype(u32)]
struct Ask;

#[derive(Message)]
#[rtype(result = "()")]
struct Boom;

#[derive(Message)]
#[rtype(result = "()")]
struct Leave;

impl Handler<Ask> for Clerk {
    type Result = u32;
    fn handle(&mut self, _: Ask, _: &mut Context<Self>) -> u32 {
        7
    }
}

impl Handler<Boom> for Clerk {
    type Result = ();
    fn handle(&mut self, _: Boom, _: &mut Context<Self>) {
        panic!("boom");
    }
}

impl Handler<Leave> for Clerk {
    type Result = ();
    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

struct Stranger;

impl Actor for Stranger {
    type Context = Context<Self>;
}

fn clerk(registry: &Registry, id: &str, name: &str) -> (ActorRef<Clerk>, ChildSpec) {
    let (clerk, spec) = actor_child(id, 8, || Clerk);
    let spec = registry.child(name, &clerk, spec);
    (clerk, spec)
}

async fn asked(registry: &Registry, name: &str) -> Result<u32, AskError> {
    registry.actor::<Clerk>(name).expect("it is registered").ask(Ask, PATIENCE).await
}

#[test]
fn a_name_is_given_at_the_start_kept_over_a_restart_and_free_when_the_child_is_down_for_good() {
    in_real_time(async {
        let registry = Registry::new();
        let (actor, spec) = clerk(&registry, "clerk", "front desk");
        let unknown = LookupError::NotRegistered("front desk".to_owned());
        assert_eq!(registry.actor::<Clerk>("front desk").unwrap_err(), unknown);
        let (top, _end) = start(supervisor(Strategy::OneForOne, vec![spec.restart(Restart::Transient)]));
        assert_eq!(actor.ask(Ask, PATIENCE).await, Ok(7));
        let found = registry.actor::<Clerk>("front desk").unwrap();
        assert_eq!(registry.names(), [("front desk".to_owned(), "clerk".to_owned())]);

        assert_eq!(found.ask(Boom, PATIENCE).await, Err(AskError::Lost));
        assert_eq!(restarted(&top, "clerk", 1).await, Exit::Panicked("boom".to_owned()));
        // The reference found before and the name lead to the restarted one.
        assert_eq!(found.ask(Ask, PATIENCE).await, Ok(7));
        assert_eq!(asked(&registry, "front desk").await, Ok(7));

        found.tell(Leave).unwrap();
        until("the clerk has left", || found.is_down()).await;
        assert_eq!(registry.actor::<Clerk>("front desk").unwrap_err(), unknown);
        assert_eq!(registry.names(), []);

        top.restart_child("clerk").await.unwrap();
        assert_eq!(asked(&registry, "front desk").await, Ok(7));
        top.terminate_child("clerk").await.unwrap();
        assert_eq!(registry.actor::<Clerk>("front desk").unwrap_err(), unknown);
    });
}

#[test]
fn a_name_that_is_taken_is_refused_with_who_has_it_and_free_afterwards() {
    in_real_time(async {
        let registry = Registry::new();
        let (first, first_spec) = clerk(&registry, "first", "desk");
        let (top, _end) = start(supervisor(Strategy::OneForOne, vec![first_spec]));
        assert_eq!(first.ask(Ask, PATIENCE).await, Ok(7));

        let (second, second_spec) = clerk(&registry, "second", "desk");
        match top.start_child(second_spec).await {
            Err(ChildError::StartFailed { id, exit: Exit::Error(text) }) => {
                assert_eq!(id, "second");
                assert!(text.contains("`desk`") && text.contains("`first`"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        // The one who has the name was not touched.
        assert_eq!(asked(&registry, "desk").await, Ok(7));
        assert_eq!(registry.names(), [("desk".to_owned(), "first".to_owned())]);
        assert_eq!(second.tell(Ask), Err(TellError::Down));

        let taken = registry.register("desk", Named::teller("third", Teller::<Ask>::through(|_| Ok(()))));
        let AlreadyRegistered { name, who, what } = taken.unwrap_err();
        assert_eq!((name.as_str(), who.as_str()), ("desk", "first"));
        assert!(what.contains("Clerk"), "{what}");

        top.terminate_child("first").await.unwrap();
        let (_, third_spec) = clerk(&registry, "third", "desk");
        top.start_child(third_spec).await.unwrap();
        assert_eq!(registry.names(), [("desk".to_owned(), "third".to_owned())]);
    });
}

#[test]
fn names_are_typed_and_a_wrong_type_is_told_from_a_missing_name() {
    in_real_time(async {
        let registry = Registry::new();
        let (actor, _spec) = actor_child("clerk", 8, || Clerk);
        let held = registry.register("desk", &actor).unwrap();
        assert_eq!(held.name(), "desk");
        let wrong = registry.actor::<Stranger>("desk").unwrap_err();
        match &wrong {
            LookupError::OtherType { name, expected, found } => {
                assert_eq!(name, "desk");
                assert!(expected.contains("Stranger") && found.contains("Clerk"), "{wrong}");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(registry.teller::<Ask>("desk"), Err(LookupError::OtherType { .. })));
        assert!(matches!(registry.supervisor("desk"), Err(LookupError::OtherType { .. })));

        let (sender, heard) = std::sync::mpsc::channel();
        let teller = Teller::through(move |ask: Ask| sender.send(ask).map_err(|_| TellError::Down));
        let _bell = registry.register("bell", Named::teller("porter", teller)).unwrap();
        registry.teller::<Ask>("bell").unwrap().tell(Ask).unwrap();
        assert_eq!(heard.recv(), Ok(Ask));
        drop(held);
        assert!(matches!(registry.actor::<Clerk>("desk"), Err(LookupError::NotRegistered(_))));
    });
}

#[test]
fn a_name_is_found_from_another_thread_but_a_supervisor_only_from_its_own() {
    in_real_time(async {
        let registry = Registry::new();
        let (_, spec) = clerk(&registry, "clerk", "desk");
        let (top, _end) = start(supervisor(Strategy::OneForOne, vec![spec]));
        let _office = registry.register("office", &top).unwrap();
        assert_eq!(registry.supervisor("office").unwrap().id(), "top");
        assert_eq!(top.which_children().await.unwrap().len(), 1);
        let elsewhere = registry.clone();
        let found = tokio::task::spawn_blocking(move || {
            (elsewhere.actor::<Clerk>("desk").is_ok(), elsewhere.supervisor("office").unwrap_err())
        });
        assert_eq!(found.await.unwrap(), (true, LookupError::OtherThread("office".to_owned())));
    });
}

/// OTP's `simple_global_supervisor`: names of a supervisor and of its worker, over the worker's crash,
/// the worker's exit and the supervisor's own end.
#[test]
fn simple_global_supervisor() {
    in_real_time(async {
        let registry = Registry::new();
        let (_, worker) = clerk(&registry, "worker", "worker");
        let (office, office_spec) = supervisor_child(SupervisorSpec::new(
            "office",
            Strategy::OneForOne,
            supervisors::Intensity { restarts: 1, period: Duration::from_secs(60) },
            vec![worker],
        ));
        let office_spec = registry.child("office", &office, office_spec);
        let (top, _end) = start(supervisor(Strategy::OneForOne, vec![office_spec]));
        until("the worker is registered", || registry.names().len() == 2).await;

        // A crash: the worker is restarted, the name leads to it.
        assert_eq!(registry.actor::<Clerk>("worker").unwrap().ask(Boom, PATIENCE).await, Err(AskError::Lost));
        assert_eq!(asked(&registry, "worker").await, Ok(7));
        // An exit: one restart too many, so the supervisor ends and is restarted with its worker.
        registry.actor::<Clerk>("worker").unwrap().tell(Leave).unwrap();
        assert!(matches!(restarted(&top, "office", 1).await, Exit::Escalated(_)));
        until("both are registered again", || registry.names().len() == 2).await;
        assert_eq!(asked(&registry, "worker").await, Ok(7));
        let office = registry.supervisor("office").unwrap();
        assert_eq!(office.which_children().await.unwrap()[0].restarts, 0);
        // The supervisor is taken down: both names are free.
        top.terminate_child("office").await.unwrap();
        assert_eq!(registry.names(), []);
        top.restart_child("office").await.unwrap();
        until("both are registered again", || registry.names().len() == 2).await;
        assert_eq!(asked(&registry, "worker").await, Ok(7));
    });
}

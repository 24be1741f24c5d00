//! Every row of the table, allowed, forbidden, hidden and without an answer.

use agentex_authz::{AuthzError, Operation, ResourceKind};

use super::{Ask, Row, Stage, Thing, Unseen, masked, pod, shown, table};
use crate::support::{Answer, Authorization, Setup, World};

const FORBIDDEN: &str = "Forbidden \u{2013} principal lacks permission";
const UNREACHABLE: &str = "Service unreachable or timed out";

/// Each row asks for what it says and for nothing else; who may look is told that it may not do it, who may not look is
/// told that nothing is there, both after the same questions; and without an answer nothing is decided.
///
/// authz §7: 66, 67, 68, 69, 71, 103, 115, 116, 118, 119, 120, 122, 124, 127, 128, 133
#[tokio::test]
async fn every_endpoint_asks_what_the_table_says_and_refuses_as_it_says() {
    let world = World::with(Setup { authorization: Authorization::StrictRules, ..Setup::default() }).await;
    let url = pod().await;
    let mut wrong = Vec::new();
    for (number, row) in table().into_iter().enumerate() {
        let stage = Stage::set(&world, &number.to_string(), &url).await;
        let driver = Driver { world: &world, row: &row, stage: &stage };
        let outcomes = driver.every_outcome().await;
        wrong.extend(outcomes.into_iter().map(|outcome| format!("{}, {outcome}", row.title())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

struct Driver<'a> {
    world: &'a World,
    row: &'a Row,
    stage: &'a Stage,
}

impl Driver<'_> {
    /// What is not as the table says. The refusals come first: they change nothing, so one stage serves them all.
    async fn every_outcome(&self) -> Vec<String> {
        let rules = &self.world.rules;
        let mut wrong = Vec::new();
        if self.row.asks.is_empty() {
            return self.outcome("asking nothing", self.row.allowed, None, &[]).await.into_iter().collect();
        }

        rules.fail(|| AuthzError::Unavailable("down".into()));
        wrong.extend(self.outcome("outage", 503, Some(self.error(503, UNREACHABLE)), &self.calls_up_to(0, None)).await);

        for (number, call) in self.row.asks.iter().enumerate() {
            for ask in call {
                match *ask {
                    Ask::Needs(operation, thing, unseen) => {
                        let follow_up = (operation != Operation::Read).then_some(thing);
                        let calls = self.calls_up_to(number, follow_up);
                        if follow_up.is_some() {
                            rules.deny(&self.stage.selector(thing), &[operation]);
                            let body = Some(self.error(403, FORBIDDEN));
                            wrong.extend(self.outcome(&format!("{operation} denied"), 403, body, &calls).await);
                        }
                        rules.hide(&self.stage.selector(thing));
                        let (status, body) = self.unseen(unseen);
                        wrong.extend(self.outcome(&format!("{thing:?} hidden"), status, Some(body), &calls).await);
                    }
                    Ask::Creates(_) => {
                        rules.deny("*", &[Operation::Create]);
                        let (body, calls) = (Some(self.error(403, FORBIDDEN)), self.calls_up_to(number, None));
                        wrong.extend(self.outcome("create denied", 403, body, &calls).await);
                    }
                    Ask::Lists(_) | Ask::Looks(..) | Ask::Explains(..) => {}
                }
            }
        }
        if matches!(self.row.asks[0][..], [Ask::Lists(_)]) {
            rules.show_only(&[]);
            wrong.extend(self.outcome("nothing visible", 200, Some("[]".to_owned()), &self.calls_up_to(0, None)).await);
        }
        let all = self.calls_up_to(self.row.asks.len() - 1, None);
        wrong.extend(self.outcome("allowed", self.row.allowed, None, &all).await);
        wrong
    }

    /// Makes the request under the present rules, which are then forgotten.
    async fn outcome(&self, when: &str, status: u16, body: Option<String>, calls: &[String]) -> Option<String> {
        self.world.calls.take();
        let answer = self.row.call(self.world, "alice", &self.stage.address).await;
        self.world.rules.reset();
        let asked: Vec<String> = self.world.calls.questions().iter().map(|call| self.named(call)).collect();
        let as_told = answer.status.as_u16() == status && body.as_ref().is_none_or(|body| *body == answer.text());
        (!as_told || asked != calls).then(|| {
            let Answer { status: got, .. } = answer;
            format!("{when}: answered {got} {}\n  asked {asked:?}\n  table: {status} {calls:?}", shown(&answer).2)
        })
    }

    /// The calls until the one with this number, and the question that tells hidden from forbidden.
    fn calls_up_to(&self, number: usize, follow_up: Option<Thing>) -> Vec<String> {
        let calls = self.row.asks[..=number].iter().map(|call| written(call));
        calls.chain(follow_up.map(|thing| format!("check read {}", named(thing)))).collect()
    }

    /// A call with the ids of the stage by name.
    fn named(&self, call: &str) -> String {
        masked(call, |id| {
            let things = [Thing::Agent, Thing::Task, Thing::Key, Thing::Schedule];
            let known = things.into_iter().find(|thing| self.stage.id(*thing) == id);
            known.map_or_else(|| "new".to_owned(), |_| "it".to_owned())
        })
    }

    fn error(&self, status: u16, text: &str) -> String {
        let text = serde_json::to_string(text).unwrap();
        if self.row.policy == "ingress" {
            format!(r#"{{"detail":{text}}}"#)
        } else {
            format!(r#"{{"message":{text},"code":{status},"data":null}}"#)
        }
    }

    fn unseen(&self, unseen: Unseen) -> (u16, String) {
        let address = &self.stage.address;
        match unseen {
            Unseen::Id(part) => {
                (404, self.error(404, &format!("Item with id '{}' does not exist.", address.part(part))))
            }
            Unseen::Name(part) | Unseen::Claimed(part) => {
                (404, self.error(404, &format!("Item with name '{}' does not exist.", address.part(part))))
            }
            Unseen::Taken => {
                (409, self.error(409, &format!("Agent name '{}' is not available.", address.part("agent_name"))))
            }
            Unseen::KeyGone => (404, self.error(404, "Agent api_key not found.")),
            Unseen::DeploymentGone => {
                let (deployment, agent) = (address.part("deployment_id"), address.part("agent_id"));
                (404, self.error(404, &format!("Deployment {deployment} not found for agent {agent}")))
            }
            Unseen::HistoryGone => {
                let absent = format!("Item with id '{}' does not exist.", address.part("history_id"));
                (404, self.error(404, &format!("Deployment not found: {absent}")))
            }
            Unseen::NoAgent => {
                (404, self.error(404, &format!("Agent {} not found or has no ACP URL.", address.part("agent_name"))))
            }
            Unseen::ScheduleGone(part) => {
                let (handle, agent) = (address.part(part), address.part("agent_id"));
                (404, self.error(404, &format!("Run schedule '{handle}' for agent '{agent}' does not exist.")))
            }
            Unseen::NoSchedules => (200, r#"{"run_schedules":[],"schedules":[],"total":0}"#.to_owned()),
            Unseen::Empty => (200, "[]".to_owned()),
        }
    }
}

fn written(call: &[Ask]) -> String {
    if let [Ask::Lists(kind)] = call {
        return format!("list read {kind}");
    }
    if let [Ask::Explains(operation, thing)] = call {
        return format!("explain {operation} {}", named(*thing));
    }
    let asks: Vec<String> = call
        .iter()
        .map(|ask| match ask {
            Ask::Needs(operation, thing, _) | Ask::Looks(operation, thing) => format!("{operation} {}", named(*thing)),
            Ask::Creates(kind) => format!("create {kind}:*"),
            Ask::Lists(_) | Ask::Explains(..) => panic!("these are calls of their own"),
        })
        .collect();
    format!("check {}", asks.join(", "))
}

/// A thing as a call names it, its id left out.
fn named(thing: Thing) -> String {
    let (kind, which) = match thing {
        Thing::Agent => (ResourceKind::Agent, "it"),
        Thing::NewAgent => (ResourceKind::Agent, "new"),
        Thing::Task => (ResourceKind::Task, "it"),
        Thing::Key => (ResourceKind::ApiKey, "it"),
        Thing::Schedule => (ResourceKind::Schedule, "run-schedule::it::it"),
    };
    format!("{kind}:{which}")
}

use futures::future::join_all;
use tokio::sync::Semaphore;

use super::*;

/// Answers a text with its length, except those that say what is to go wrong, and notes what was run.
struct Lengths {
    ran: Mutex<Vec<Vec<&'static str>>>,
    /// The statement for `slow` ends when it gets one.
    gate: Semaphore,
}

impl Lengths {
    fn note(&self, texts: Vec<&'static str>) {
        self.ran.lock().unwrap().push(texts);
    }
}

impl Batch for Lengths {
    type Item = &'static str;
    type Answer = usize;

    async fn alone(&self, text: &&'static str) -> Result<usize, StoreError> {
        self.note(vec![text]);
        // Others come meanwhile.
        tokio::task::yield_now().await;
        match *text {
            "slow" => self.gate.acquire().await.unwrap().forget(),
            "bad" => return Err(StoreError::Failed("bad".into())),
            _ => {}
        }
        Ok(text.len())
    }

    async fn together(&self, texts: &[Arc<&'static str>]) -> Result<Vec<Option<usize>>, StoreError> {
        let texts: Vec<&'static str> = texts.iter().map(|text| **text).collect();
        self.note(texts.clone());
        for text in &texts {
            match *text {
                "bad" => return Err(StoreError::Failed("bad".into())),
                "outage" => return Err(StoreError::Unavailable("cut".into())),
                "panic" => panic!("asked to"),
                _ => {}
            }
        }
        Ok(texts.into_iter().map(|text| (text != "locked").then_some(text.len())).collect())
    }
}

fn lengths() -> Batched<Lengths> {
    Batched::new(Lengths { ran: Mutex::default(), gate: Semaphore::new(0) })
}

impl Batched<Lengths> {
    fn ran(&self) -> Vec<Vec<&'static str>> {
        std::mem::take(&mut self.shared.batch.ran.lock().unwrap())
    }

    /// Asks for all at the same moment.
    async fn all(&self, texts: &[&'static str]) -> Vec<Result<usize, String>> {
        let answers = texts.iter().map(|text| async { self.run(text).await.map_err(|error| error.to_string()) });
        join_all(answers).await
    }

    fn is_idle(&self) -> bool {
        let line = self.shared.lock();
        line.running == 0 && line.waiting.is_empty()
    }
}

#[tokio::test]
async fn whoever_comes_alone_runs_alone_and_whoever_comes_meanwhile_shares_a_statement() {
    let lengths = lengths();
    assert_eq!(lengths.run("one").await.unwrap(), 3);
    assert_eq!(lengths.ran(), [["one"]]);

    lengths.shared.batch.gate.add_permits(1);
    let answers = lengths.all(&["slow", "a", "bbb", "cc"]).await;

    assert_eq!(answers, [4, 1, 3, 2].map(Ok));
    assert_eq!(lengths.ran(), [vec!["slow"], vec!["a", "bbb", "cc"]]);
    assert_eq!(lengths.run("again").await.unwrap(), 5);
    assert_eq!(lengths.ran(), [["again"]]);
}

#[tokio::test]
async fn what_cannot_be_done_together_is_done_alone() {
    let lengths = lengths();
    lengths.shared.batch.gate.add_permits(2);

    assert_eq!(lengths.all(&["slow", "locked", "bb"]).await, [4, 6, 2].map(Ok));
    assert_eq!(lengths.ran(), [vec!["slow"], vec!["locked", "bb"], vec!["locked"]]);

    let refused = "store refused a statement".to_owned();
    assert_eq!(lengths.all(&["slow", "bad", "bb"]).await, [Ok(4), Err(refused), Ok(2)]);
    assert_eq!(lengths.ran(), [vec!["slow"], vec!["bad", "bb"], vec!["bad"], vec!["bb"]]);
    assert!(lengths.is_idle());
}

/// Trying again could do twice what was done before the connection broke.
#[tokio::test]
async fn an_outage_is_everybodys_and_nothing_is_tried_again() {
    let lengths = lengths();
    lengths.shared.batch.gate.add_permits(2);
    let cut = || Err("store unavailable".to_owned());

    assert_eq!(lengths.all(&["slow", "outage", "bb"]).await, [Ok(4), cut(), cut()]);
    assert_eq!(lengths.ran(), [vec!["slow"], vec!["outage", "bb"]]);

    assert_eq!(lengths.all(&["slow", "panic", "bb"]).await, [Ok(4), cut(), cut()]);
    assert_eq!(lengths.ran(), [vec!["slow"], vec!["panic", "bb"]]);
    assert!(lengths.is_idle());
}

#[tokio::test]
async fn those_who_wait_go_on_when_the_first_goes_away() {
    let lengths = lengths();
    {
        let mut first = Box::pin(lengths.run("slow"));
        assert!(futures::poll!(&mut first).is_pending());
        let (mut second, mut gone) = (Box::pin(lengths.run("a")), Box::pin(lengths.run("gone")));
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut gone).is_pending());
        drop((gone, first));
        assert_eq!(second.await.unwrap(), 1);
    }
    assert_eq!(lengths.ran(), [["slow"], ["a"]]);
    assert_eq!(lengths.run("bb").await.unwrap(), 2);
    assert!(lengths.is_idle());
}

/// Somebody holds a lock that the first waits for.
#[tokio::test]
async fn nobody_waits_for_ever_for_the_first() {
    let lengths = lengths();
    let mut first = Box::pin(lengths.run("slow"));
    assert!(futures::poll!(&mut first).is_pending());

    assert_eq!(lengths.all(&["a", "bb"]).await, [1, 2].map(Ok));

    lengths.shared.batch.gate.add_permits(1);
    assert_eq!(first.await.unwrap(), 4);
    assert!(lengths.is_idle());
}

#[tokio::test]
async fn a_crowd_is_served_in_several_statements_in_its_order() {
    let lengths = lengths();
    lengths.shared.batch.gate.add_permits(1);
    let mut texts = vec!["slow"];
    texts.resize(1 + MOST, "a");
    texts.push("bb");

    let answers = lengths.all(&texts).await;

    assert!(answers.iter().zip(&texts).all(|(answer, text)| *answer == Ok(text.len())));
    assert_eq!(lengths.ran().iter().map(Vec::len).collect::<Vec<_>>(), [1, MOST, 1]);
}

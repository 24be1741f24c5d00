//! The SDK's LangGraph checkpointer, called by hand and by a graph without a model.

use serde_json::{Value, json};

use crate::support::{Deployment, Sdk, User};

/// A graph that has paused goes on after the server was killed, in another process of the agent.
// checkpoints §5: 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 19
#[tokio::test(flavor = "multi_thread")]
async fn langgraph_checkpoints_survive_the_server_and_the_agent_on_the_embedded_preset() {
    let mut deployment = Deployment::embedded().await;
    let [thread, spare] = threads(&deployment).await;
    let before = User::nobody(Sdk::Newest, &deployment);
    let facts =
        before.program("checkpointer.py", &["saver", "graph", "--thread", &thread, "--spare-thread", &spare]).await;

    deployment.kill_and_restart().await;
    let after = User::nobody(Sdk::Newest, &deployment);
    let resumed = after.program("checkpointer.py", &["resume", "--thread", &thread]).await;

    saver_keeps_its_promises(&facts["saver"]);
    graph_pauses_and_goes_on(&facts["graph"], &resumed["resume"]);
}

// checkpoints §5: 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 19
#[tokio::test(flavor = "multi_thread")]
async fn langgraph_checkpoints_are_kept_on_postgres() {
    let deployment = Deployment::postgres().await;
    let [thread, spare] = threads(&deployment).await;
    let user = User::nobody(Sdk::Newest, &deployment);
    let arguments = ["saver", "graph", "resume", "--thread", &thread, "--spare-thread", &spare];
    let facts = user.program("checkpointer.py", &arguments).await;

    saver_keeps_its_promises(&facts["saver"]);
    graph_pauses_and_goes_on(&facts["graph"], &facts["resume"]);
}

/// Two tasks of an agent that nobody calls: tasks of sync agents are not announced.
async fn threads(deployment: &Deployment) -> [String; 2] {
    let client = User::nobody(Sdk::Newest, deployment).http();
    let agent = json!({"name": "graphs", "description": "d", "acp_url": "http://127.0.0.1:1", "acp_type": "sync"});
    let _ = client.post("/agents/register", &agent).await.expect(200);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let call = json!({"method": "task/create", "params": {}, "id": 1});
        let created = client.post("/agents/name/graphs/rpc", &call).await.expect(200);
        ids.push(created["result"]["id"].as_str().unwrap().to_owned());
    }
    ids.try_into().unwrap()
}

fn saver_keeps_its_promises(facts: &Value) {
    assert_eq!(facts["absent"], Value::Null);
    let tuple = |id, parent: Value, values, metadata| json!({"id": id, "namespace": "", "parent": parent, "values": values, "metadata": metadata, "writes": []});
    // Python's own notation. A tuple comes back as a list: that is how LangGraph writes it.
    let values = "{'count': 9007199254740993, 'name': 'ünïcode', 'things': [b'\\x00\\xff', {1}, [2, 'drei']]}";
    assert_eq!(facts["first"], tuple("cp-1", Value::Null, values, json!({"step": 1, "source": "input"})));
    let values = "{'count': 2, 'things': ['new']}";
    assert_eq!(facts["second"], tuple("cp-2", json!("cp-1"), values, json!({"step": 2, "source": "loop"})));
    assert_eq!(facts["newest"], tuple("cp-3", json!("cp-2"), "{'count': 3}", json!({"step": 3, "source": "loop"})));
    let values = "{'count': 22, 'things': ['new']}";
    assert_eq!(facts["repeated"], tuple("cp-2", json!("cp-1"), values, json!({"step": 2, "source": "fork"})));
    assert_eq!(facts["integer_versions"]["values"], "{'things': ['by number']}");
    assert_eq!(
        facts["writes"],
        json!([["task-a", "things", "['w0']"], ["task-a", "count", "9"], ["task-b", "__error__", "'second error'"]])
    );
    assert_eq!(
        facts["lists"],
        json!({
            "root": [["", "cp-3"], ["", "cp-2"], ["", "cp-1"]],
            "sub": [["sub", "cp-2"]],
            "everywhere": [["", "cp-3"], ["", "cp-2"], ["sub", "cp-2"], ["", "cp-1"]],
            "filtered": [["", "cp-3"]],
            "nothing": [],
            "before": [["", "cp-2"], ["", "cp-1"]],
            "limited": [["", "cp-3"], ["", "cp-2"]],
        })
    );
    assert_eq!(facts["refused"], json!({"limit 0": 422, "limit 1001": 422, "no thread": 422}));
    let again = json!({"id": "cp-2", "namespace": "", "parent": null, "values": "{}", "metadata": {}, "writes": []});
    assert_eq!(
        facts["deleted"],
        json!({
            "root": null, "sub": null, "second": null, "list": [], "other": [["beside", "cp-1"]], "again": again,
        })
    );
}

fn graph_pauses_and_goes_on(paused: &Value, resumed: &Value) {
    let first = ["['start', None]", "['left', b'\\x00']", "['right', b'\\xff']"];
    let steps = [json!([1, 0, -1]), json!([3, 2, 1, 0, -1])];
    assert_eq!(
        paused,
        &json!({"before": [], "after": first, "next": ["ask"], "asked": ["how many?"], "steps": steps[0]})
    );
    let all = [&first[..], &["['answer', 3]", "['finish', 4]"]].concat();
    assert_eq!(resumed, &json!({"before": first, "after": all, "next": [], "asked": [], "steps": steps[1]}));
}

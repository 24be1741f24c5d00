use std::fmt::Write as _;

use serde_json::json;

use super::graph::{Graph, Object, Relationship, Subject};
use super::question::Question;
use super::schema::Schema;
use super::vocabulary::{admission_to, creation_permission, definition_of};
use crate::{Operation, Principal, ResourceKind, ResourceRef};

/// Who asks, and what has been said about them.
struct Role {
    name: &'static str,
    /// The account they act in.
    account: Option<&'static str>,
    /// Their relation to the resource, through a group where `grouped`.
    on_resource: Option<&'static str>,
    /// Their relation to the resource's agent.
    on_agent: Option<&'static str>,
    grouped: bool,
}

impl Role {
    const fn new(name: &'static str) -> Self {
        Self { name, account: Some("acme"), on_resource: None, on_agent: None, grouped: false }
    }

    const fn has(self, relation: &'static str) -> Self {
        Self { on_resource: Some(relation), ..self }
    }

    const fn has_on_agent(self, relation: &'static str) -> Self {
        Self { on_agent: Some(relation), ..self }
    }
}

const AGENT_ROLES: [Role; 7] = [
    Role::new("owner").has("owner"),
    Role::new("editor").has("editor"),
    Role::new("viewer").has("viewer"),
    Role { grouped: true, ..Role::new("member of a group that is editor").has("editor") },
    Role::new("stranger in the account"),
    Role { account: Some("other"), ..Role::new("owner acting in another account").has("owner") },
    Role { account: None, ..Role::new("owner acting in no account").has("owner") },
];

const TASK_ROLES: [Role; 8] = [
    Role::new("owner").has("owner"),
    Role::new("editor").has("editor"),
    Role::new("viewer").has("viewer"),
    Role { grouped: true, ..Role::new("member of a group that is editor").has("editor") },
    Role::new("owner of the agent only").has_on_agent("owner"),
    Role::new("stranger in the account"),
    Role { account: Some("other"), ..Role::new("owner acting in another account").has("owner") },
    Role { account: None, ..Role::new("owner acting in no account").has("owner") },
];

/// Of what needs the agent, too.
const CHILD_ROLES: [Role; 12] = [
    Role::new("owner, owner of the agent").has("owner").has_on_agent("owner"),
    Role::new("owner, editor of the agent").has("owner").has_on_agent("editor"),
    Role::new("owner, viewer of the agent").has("owner").has_on_agent("viewer"),
    Role::new("owner, nothing on the agent").has("owner"),
    Role::new("editor, editor of the agent").has("editor").has_on_agent("editor"),
    Role::new("editor, viewer of the agent").has("editor").has_on_agent("viewer"),
    Role::new("viewer, owner of the agent").has("viewer").has_on_agent("owner"),
    Role::new("viewer, nothing on the agent").has("viewer"),
    Role::new("owner of the agent only").has_on_agent("owner"),
    Role::new("stranger in the account"),
    Role {
        account: Some("other"),
        ..Role::new("owner of both, acting in another account").has("owner").has_on_agent("owner")
    },
    Role { account: None, ..Role::new("owner of both, acting in no account").has("owner").has_on_agent("owner") },
];

const OPERATIONS: [Operation; 5] =
    [Operation::Read, Operation::Update, Operation::Execute, Operation::Cancel, Operation::Delete];

const WIDTH: usize = 42;

/// The permission matrix as text: for every kind of resource and every role, what `schema` allows. Printed for people to
/// review, so its layout promises nothing to programs.
///
/// `-` marks an operation that the kind does not have; `create` is asked of the kind as a whole.
#[must_use]
pub fn permission_matrix(schema: &Schema) -> String {
    let mut text = "Who may do what, printed from crates/authz/src/model/schema.zed. Do not edit:\n\
                    UPDATE_MATRIX=1 cargo nextest run -p agentex-authz matrix\n\n\
                    `create` is asked of the kind as a whole (`*`), in the account the caller acts in.\n\
                    `-`: the kind does not have the operation.\n"
        .to_owned();
    let kinds: [(ResourceKind, &[Role]); 4] = [
        (ResourceKind::Agent, &AGENT_ROLES),
        (ResourceKind::Task, &TASK_ROLES),
        (ResourceKind::ApiKey, &CHILD_ROLES),
        (ResourceKind::Schedule, &CHILD_ROLES),
    ];
    for (kind, roles) in kinds {
        write!(text, "\n{:WIDTH$} {:8}", kind.as_str(), "create").expect("strings take everything");
        OPERATIONS.iter().for_each(|operation| push_cell(&mut text, operation.as_str()));
        end_line(&mut text);
        for role in roles {
            push_role(&mut text, schema, kind, role);
        }
    }
    text
}

fn push_role(text: &mut String, schema: &Schema, kind: ResourceKind, role: &Role) {
    let graph = graph(kind, role);
    let caller = Principal::from_json(json!({"user_id": "caller", "account_id": role.account}));
    let question = Question::new(&caller);
    let decide = |operation, resource: &ResourceRef| {
        let decision = question.as_ref().map(|it| it.decide(schema, &graph, operation, resource));
        match decision.transpose() {
            Ok(decision) if decision.is_some_and(|it| it.is_allowed()) => "yes",
            Ok(_) => "no",
            Err(_) => "error",
        }
    };

    write!(text, "{:WIDTH$} ", role.name).expect("strings take everything");
    let creation = ResourceRef::any(kind);
    let creatable = creation_permission(kind).is_some();
    push_cell(text, if creatable { decide(Operation::Create, &creation) } else { "-" });
    for operation in OPERATIONS {
        let resource = ResourceRef { kind, selector: "it".to_owned() };
        let exists = schema.has_permission(definition_of(kind), operation.as_str());
        push_cell(text, if exists { decide(operation, &resource) } else { "-" });
    }
    end_line(text);
}

/// A resource of `kind` and its agent, both of the account `acme`, with the role's relations to them.
fn graph(kind: ResourceKind, role: &Role) -> Graph {
    let (resource, agent) = (Object::new(definition_of(kind), "it"), Object::new("agent", "parent"));
    let account = |id| Subject::object(Object::new("account", id));
    let caller = Subject::object(Object::new("user", "caller"));
    let group = Object::new("group", "team");
    let team = Subject { object: group.clone(), relation: Some("member".into()) };
    let edge = |resource: &Object, relation: &str, subject: &Subject| Relationship {
        resource: resource.clone(),
        relation: relation.into(),
        subject: subject.clone(),
        acting_in: None,
    };

    let mut edges: Vec<Relationship> = ["acme", "other"].into_iter().flat_map(admission_to).collect();
    edges.push(edge(&resource, "tenant", &account("acme")));
    edges.push(edge(&agent, "tenant", &account("acme")));
    edges.push(edge(&group, "member", &caller));
    if kind != ResourceKind::Agent {
        edges.push(edge(&resource, "parent_agent", &Subject::object(agent.clone())));
    }
    let subject = if role.grouped { &team } else { &caller };
    edges.extend(role.on_resource.map(|relation| edge(&resource, relation, subject)));
    edges.extend(role.on_agent.map(|relation| edge(&agent, relation, &caller)));
    let mut graph = Graph::default();
    edges.into_iter().for_each(|edge| graph.insert(edge));
    graph
}

fn push_cell(text: &mut String, cell: &str) {
    write!(text, "{cell:8}").expect("strings take everything");
}

fn end_line(text: &mut String) {
    text.truncate(text.trim_end_matches(' ').len());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::SCHEMA;
    use super::*;

    #[test]
    fn the_committed_permission_matrix_is_what_the_schema_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/permission-matrix.txt");
        let printed = permission_matrix(&Schema::parse(SCHEMA).unwrap());
        if std::env::var_os("UPDATE_MATRIX").is_some() {
            std::fs::write(path, &printed).unwrap();
        }

        let committed = std::fs::read_to_string(path).unwrap_or_default();

        assert!(committed == printed, "docs/permission-matrix.txt is not what the schema says; it says:\n{printed}");
    }
}

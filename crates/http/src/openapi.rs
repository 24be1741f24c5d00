//! The API document: what the handlers say about themselves, and what is true of all of them.

use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::{
    Content, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref, RefOr, Response, ResponseBuilder,
};
use utoipa::{PartialSchema as _, ToSchema};

use crate::bodies::api_keys::ApiKeyTypeWords;
use crate::bodies::errors::{DetailBody, MessageBody, ProblemBody, ValidationBody};
use crate::bodies::messages::TimeDirectionWords;
use crate::bodies::tasks::TaskRelationshipsWords;
use crate::mount::Policy;
use crate::routes;

/// The OpenAPI 3.1 document of the API.
#[must_use]
pub fn openapi() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Agentex API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Registers agents, runs tasks and carries messages between callers and agents."))
        .build();
    let document = OpenApiBuilder::new().info(info).paths(PathsBuilder::new().build()).build();
    let mut document = routes::api().describe(document);
    let schemas = &mut document.components.get_or_insert_default().schemas;
    for (name, schema) in [
        (MessageBody::name(), MessageBody::schema()),
        (ValidationBody::name(), ValidationBody::schema()),
        (ProblemBody::name(), ProblemBody::schema()),
        (DetailBody::name(), DetailBody::schema()),
        // Types that only parameters use are not collected with the routes.
        (TaskRelationshipsWords::name(), TaskRelationshipsWords::schema()),
        (TimeDirectionWords::name(), TimeDirectionWords::schema()),
        (ApiKeyTypeWords::name(), ApiKeyTypeWords::schema()),
    ] {
        schemas.insert(name.into_owned(), schema);
    }
    document
}

/// Adds the errors every route may answer.
pub(crate) fn with_common_answers(mut item: PathItem, template: &str, policy: Policy) -> PathItem {
    let addressed = template.contains('{');
    // A name can be taken, a schedule be changed by two at once, and a repeated POST not be what it was before.
    let operations = [
        (&mut item.get, false),
        (&mut item.put, false),
        (&mut item.post, true),
        (&mut item.patch, true),
        (&mut item.delete, false),
    ];
    for (operation, may_conflict) in operations {
        let Some(operation) = operation else { continue };
        if policy == Policy::Ingress {
            add(operation, &ingress_answers());
            continue;
        }
        let addressed = addressed || operation.request_body.is_some() || asks_for_a_parent(operation);
        let mut answers = vec![
            ("400", "The request makes no sense in the present state.", MessageBody::name()),
            ("422", "The request is not what the route expects.", ValidationBody::name()),
            ("500", "The server failed.", MessageBody::name()),
            ("503", "Something the server needs is not there; try again.", MessageBody::name()),
        ];
        if policy != Policy::Public {
            answers.push(("401", "The credentials are missing or wrong.", DetailBody::name()));
            answers.push(("403", "The caller may see it but not do this to it.", MessageBody::name()));
        }
        if addressed {
            answers.push(("404", "It does not exist, or the caller may not see it.", MessageBody::name()));
        }
        if may_conflict && policy != Policy::Public {
            answers.push((
                "409",
                "It contradicts what exists or what is being done at the same time.",
                MessageBody::name(),
            ));
        }
        if operation.request_body.is_some() {
            answers.push(("413", "The request is too large.", MessageBody::name()));
        }
        add(operation, &answers);
    }
    item
}

/// Whether the query can name the task or agent whose things are wanted.
fn asks_for_a_parent(operation: &Operation) -> bool {
    operation.parameters.iter().flatten().any(|parameter| match parameter {
        RefOr::T(parameter) => {
            parameter.parameter_in == ParameterIn::Query
                && matches!(parameter.name.as_str(), "task_id" | "agent_id" | "agent_name")
        }
        RefOr::Ref(_) => false,
    })
}

/// The errors of requests that are passed on to agents. The agents' own have their own shape.
fn ingress_answers() -> [(&'static str, &'static str, std::borrow::Cow<'static, str>); 10] {
    [
        ("400", "The path, or the payload of the webhook, is not acceptable."),
        ("401", "The key or signature is wrong."),
        ("403", "There are no credentials, or the caller may see the agent but not use it."),
        ("404", "There is no such agent, or no key for the sender."),
        ("408", "The request's body did not arrive."),
        ("413", "The request is too large."),
        ("500", "The server failed."),
        ("502", "The agent is unreachable."),
        ("503", "Something the server needs is not there; try again."),
        ("504", "The agent did not respond in time."),
    ]
    .map(|(status, description)| (status, description, DetailBody::name()))
}

fn add(operation: &mut Operation, answers: &[(&str, &str, std::borrow::Cow<'static, str>)]) {
    for (status, description, schema) in answers {
        let content = Content::new(Some(Ref::from_schema_name(schema.as_ref())));
        let response: RefOr<Response> =
            ResponseBuilder::new().description(*description).content("application/json", content).build().into();
        operation.responses.responses.entry((*status).to_owned()).or_insert(response);
    }
}

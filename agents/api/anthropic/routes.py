"""The routes of the Anthropic-compatible API."""

from __future__ import annotations

import json

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from agents.api.answering import EventStream
from agents.api.anthropic.bodies import CountBody, MessageBody, conversation, message_request, tools_of
from agents.api.anthropic.errors import error_frame
from agents.api.anthropic.messages import MessageHead, message_answer, message_events
from agents.api.asking import follow
from agents.api.bodies import read_body
from agents.api.desk import Desk, answers, done
from agents.api.fields import Json

TOKENS_AROUND_MESSAGE = 6  # the chat template's marks and the role's name


def anthropic_routes(desk: Desk) -> APIRouter:
    """Messages, and the estimate of their size."""
    routes = APIRouter(include_in_schema=False)  # described by the API's own pages

    @routes.post("/v1/messages")
    async def messages(request: Request) -> Response:
        body = await read_body(request, MessageBody)
        asked = desk.ask(request, body.model)
        head = MessageHead(id=f"msg_{asked.number}", model=asked.model.id)
        engine_request = message_request(body, asked.caller, head.id)
        if body.stream:
            events = follow(asked.engine, (engine_request,))
            return await EventStream(message_events(head, events), error_frame, source=events).begin(request)
        [answer] = await answers(request, asked, (engine_request,))
        return JSONResponse(message_answer(head, answer))

    @routes.post("/v1/messages/count_tokens")
    async def count_tokens(request: Request) -> Json:
        body = await read_body(request, CountBody)
        asked = desk.ask(request, body.model)
        texts = _texts(body)
        counts = await done(request, asked.engine.count_tokens(texts))
        return {"input_tokens": sum(counts) + TOKENS_AROUND_MESSAGE * len(texts)}

    return routes


def _texts(body: CountBody) -> list[str]:
    """All that the model would read. An estimate, as in the API: the chat template writes it in its own form."""
    texts = [
        message.content + "".join(call.name + call.arguments for call in message.tool_calls)
        for message in conversation(body)
    ]
    texts.extend(
        json.dumps([tool.name, tool.description, dict(tool.parameters)], ensure_ascii=False)
        for tool in tools_of(body)
    )
    return texts

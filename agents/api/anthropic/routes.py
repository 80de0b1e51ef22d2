"""The routes of the Anthropic-compatible API."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from agents.api.answering import EventStream
from agents.api.anthropic.bodies import CountBody, MessageBody, count_request, message_request
from agents.api.anthropic.errors import error_frame
from agents.api.anthropic.messages import MessageHead, message_answer, message_events
from agents.api.asking import follow
from agents.api.bodies import read_body
from agents.api.desk import Desk, answers, done
from agents.api.fields import Json


def anthropic_routes(desk: Desk) -> APIRouter:
    """Messages, and their size."""
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
        count = asked.engine.count_prompt(count_request(body, asked.number))
        return {"input_tokens": await done(request, count)}

    return routes

"""The routes of the OpenAI-compatible API."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from agents.api.answering import EventStream
from agents.api.asking import follow
from agents.api.bodies import read_body
from agents.api.desk import FINGERPRINT, Asked, Desk, answers, done
from agents.api.fields import Json
from agents.api.openai.chat import Head, chat_answer, chat_chunks
from agents.api.openai.chat_bodies import ChatBody, chat_requests
from agents.api.openai.completions import (
    CompletionBody,
    completion_answer,
    completion_chunks,
    completion_requests,
)
from agents.api.openai.embeddings import EmbeddingBody, check_texts, embedding_answer
from agents.api.openai.errors import error_frame
from agents.api.openai.responses import ResponseHead, ResponseStream, response_answer
from agents.api.openai.responses_bodies import ResponseBody, response_request
from agents.api.refusals import invalid, too_long
from agents.models.served import ServedModel
from engine.core import Embeddings
from engine.errors import PromptTooLong, RequestInvalid


def openai_routes(desk: Desk) -> APIRouter:
    """Chat, completions, responses, embeddings and the list of models."""
    routes = APIRouter(include_in_schema=False)  # described by the API's own pages

    @routes.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await _chat(desk, request)

    @routes.post("/v1/completions")
    async def complete(request: Request) -> Response:
        return await _complete(desk, request)

    @routes.post("/v1/responses")
    async def respond(request: Request) -> Response:
        return await _respond(desk, request)

    @routes.post("/v1/embeddings")
    async def embed(request: Request) -> Response:
        body = await read_body(request, EmbeddingBody)
        check_texts(body)
        asked = desk.ask(request, body.model)
        vectors = await done(request, _embed(desk, asked, body))
        return JSONResponse(embedding_answer(asked.model.id, body, vectors))

    @routes.get("/v1/models")
    async def models() -> Json:
        return {"object": "list", "data": [_model(model) for model in desk.models.all]}

    @routes.get("/v1/models/{name}")
    async def model(name: str) -> Json:
        return _model(desk.find(name))

    return routes


async def _chat(desk: Desk, request: Request) -> Response:
    body = await read_body(request, ChatBody)
    asked = desk.ask(request, body.model)
    head = _head(asked, "chatcmpl-")
    requests = chat_requests(body, asked.caller, head.id)
    if body.stream:
        events = follow(asked.engine, requests)
        frames = chat_chunks(
            head, events, n=len(requests), with_logprobs=bool(body.logprobs), with_usage=body.shows_usage
        )
        return await EventStream(frames, error_frame, source=events).begin(request)
    whole = await answers(request, asked, requests)
    return JSONResponse(chat_answer(head, whole, with_logprobs=bool(body.logprobs)))


async def _complete(desk: Desk, request: Request) -> Response:
    body = await read_body(request, CompletionBody)
    asked = desk.ask(request, body.model)
    head = _head(asked, "cmpl-")
    requests = completion_requests(body, asked.caller, head.id)
    if body.stream:
        events = follow(asked.engine, requests)
        frames = completion_chunks(head, body, events)
        return await EventStream(frames, error_frame, source=events).begin(request)
    return JSONResponse(completion_answer(head, body, await answers(request, asked, requests)))


async def _respond(desk: Desk, request: Request) -> Response:
    body = await read_body(request, ResponseBody)
    asked = desk.ask(request, body.model)
    head = ResponseHead(id=f"resp_{asked.number}", created=int(time.time()), model=asked.model.id, body=body)
    engine_request = response_request(body, asked.caller, head.id)
    if body.stream:
        stream = ResponseStream(head)
        events = follow(asked.engine, (engine_request,))
        return await EventStream(stream.frames(events), stream.failed, source=events).begin(request)
    [answer] = await answers(request, asked, (engine_request,))
    return JSONResponse(response_answer(head, answer))


async def _embed(desk: Desk, asked: Asked, body: EmbeddingBody) -> Embeddings:
    try:
        return await asked.engine.embed(body.texts, priority=asked.caller.priority)
    except PromptTooLong as error:
        raise too_long(error, param="input") from None
    except RequestInvalid:
        embedders = await asyncio.to_thread(desk.models.embedders)
        if asked.engine.status.embedding or not embedders:
            raise
        raise invalid(
            f"The model {asked.model.id} writes text and makes no vectors; ask {' or '.join(embedders)}.",
            param="model",
        ) from None


def _head(asked: Asked, beginning: str) -> Head:
    return Head(
        id=f"{beginning}{asked.number}",
        created=int(time.time()),
        model=asked.model.id,
        fingerprint=FINGERPRINT,
    )


def _model(model: ServedModel) -> Json:
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": "hearth"}

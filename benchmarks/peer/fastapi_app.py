"""FastAPI with asyncpg: a row a request, which is what people write before they have a queue."""

import contextlib
import json
import os
from collections.abc import AsyncIterator

import asyncpg
from fastapi import FastAPI
from pydantic import BaseModel

CONNECTIONS = 10


class NewTask(BaseModel):
    """What is sent."""

    payload: str


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold a pool of connections, and have a table."""
    async with asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=CONNECTIONS, max_size=CONNECTIONS
    ) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/tasks", status_code=201)
async def add(task: NewTask) -> dict[str, object]:
    """Keep a task: a transaction, and so a commit, of its own."""
    row = await app.state.pool.fetchrow(
        "INSERT INTO rows (payload) VALUES ($1) RETURNING id, status, created_at",
        json.dumps(task.payload),
    )
    return {**row, "payload": task.payload}

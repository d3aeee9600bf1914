"""FastAPI with asyncpg: one row per request, as applications without a queue do."""

import contextlib
import json
import os
from collections.abc import AsyncIterator

import asyncpg
from fastapi import FastAPI
from pydantic import BaseModel

CONNECTIONS = 10


class NewTask(BaseModel):
    """The body of a request."""

    payload: str


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open a pool of connections, and create the table."""
    async with asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=CONNECTIONS, max_size=CONNECTIONS
    ) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/tasks", status_code=201)
async def add(task: NewTask) -> dict[str, object]:
    """Store a task in a transaction of its own."""
    row = await app.state.pool.fetchrow(
        "INSERT INTO rows (payload) VALUES ($1) RETURNING id, status, created_at",
        json.dumps(task.payload),
    )
    return {**row, "payload": task.payload}

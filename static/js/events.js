// Reads server-sent events from a response body, because EventSource cannot POST.

/** The events of a stream as `{event, data}`, data parsed as JSON. */
export async function* readEvents(body) {
  let pending = "";
  for await (const text of chunks(body.pipeThrough(new TextDecoderStream()))) {
    pending += text.replaceAll("\r", "");
    const blocks = pending.split("\n\n");
    pending = blocks.pop();
    for (const block of blocks) {
      const event = parse(block);
      if (event) yield event;
    }
  }
}

/** Iterates over a stream, also in browsers whose streams are not iterable. */
async function* chunks(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** One event, or null for a comment that only keeps the connection alive. */
function parse(block) {
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (field === "event") event = value;
    if (field === "data") data.push(value);
  }
  return data.length ? { event, data: JSON.parse(data.join("\n")) } : null;
}

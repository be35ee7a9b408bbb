// Calls tools through OpenAI's client, by chat completions and by responses, and prints what came, as JSON.
// node tools.mjs BASE_URL PICTURE.png
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const [baseURL, picture] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const camera = {
  name: "camera",
  description: "Takes a picture.",
  parameters: { type: "object", properties: { side: { enum: ["left", "right"] } }, required: ["side"], additionalProperties: false },
};
const common = { model: "scripted", temperature: 0 };
const question = "What is before the camera?";
const result = {};

// The client's own loop: it calls the function and asks again.
const sides = [];
const loop = client.chat.completions.runTools({
  ...common,
  max_completion_tokens: 60,
  messages: [{ role: "user", content: question }],
  tools: [{ type: "function", function: { ...camera, parse: JSON.parse, function: ({ side }) => { sides.push(side); return "A cat."; } } }],
});
result.looped = await loop.finalContent();
result.sides = sides;

let streamed = "";
for await (const chunk of await client.chat.completions.create({
  ...common,
  max_completion_tokens: 60,
  messages: [{ role: "user", content: question }],
  tools: [{ type: "function", function: camera }],
  stream: true,
})) streamed += chunk.choices[0]?.delta?.tool_calls?.[0]?.function?.arguments ?? "";
result.streamed = JSON.parse(streamed);

const tools = [{ type: "function", strict: true, ...camera }];
const asked = await client.responses.create({ ...common, max_output_tokens: 60, input: question, tools });
const call = asked.output.find((item) => item.type === "function_call");
result.called = { status: asked.status, name: call.name, arguments: JSON.parse(call.arguments) };
const url = `data:image/png;base64,${readFileSync(picture).toString("base64")}`;
const events = client.responses.stream({
  ...common,
  max_output_tokens: 60,
  previous_response_id: asked.id,
  tools,
  input: [{ type: "function_call_output", call_id: call.call_id, output: [{ type: "input_text", text: "Here." }, { type: "input_image", image_url: url, detail: "low" }] }],
});
result.types = [];
for await (const event of events) result.types.push(event.type);
const answered = await events.finalResponse();
result.answered = answered.output.find((item) => item.type === "message").content[0].text;
result.imageTokens = answered.usage.input_tokens_details.image_tokens;

const formed = await client.responses.create({
  ...common,
  max_output_tokens: 60,
  input: "Which side?",
  text: { format: { type: "json_schema", name: "side", strict: true, schema: camera.parameters } },
});
result.formed = JSON.parse(formed.output_text);
result.same = (await client.responses.retrieve(asked.id)).id === asked.id;
await client.responses.delete(asked.id);
try {
  await client.responses.retrieve(asked.id);
  result.gone = "no error";
} catch (error) {
  result.gone = `${error.status} ${error.constructor.name} ${error.code}`;
}

console.log(JSON.stringify(result));

// Asks a Skylight server through OpenAI's client and prints what came, as JSON.
// node client.mjs BASE_URL KEY PICTURE.png
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const [baseURL, apiKey, picture] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const request = { model: "tiny", messages: [{ role: "user", content: "Tell me a story." }], temperature: 1, seed: 5, max_completion_tokens: 12, logit_bias: { 151643: -100, 151645: -100 } };
const result = {};

result.models = (await client.models.list()).data.map((model) => model.id);

const whole = await client.chat.completions.create(request);
result.whole = whole.choices[0].message.content;
result.wholeUsage = whole.usage;

result.streamed = "";
for await (const chunk of await client.chat.completions.create({ ...request, stream: true, stream_options: { include_usage: true } })) {
  result.streamed += chunk.choices[0]?.delta?.content ?? "";
  result.streamedUsage = chunk.usage ?? result.streamedUsage;
}

const url = `data:image/png;base64,${readFileSync(picture).toString("base64")}`;
const seen = await client.chat.completions.create({
  ...request,
  messages: [{ role: "user", content: [{ type: "image_url", image_url: { url, detail: "low" } }, { type: "text", text: "What is this?" }] }],
});
result.ofPicture = seen.choices[0].message.content;
result.imageTokens = seen.usage.prompt_tokens_details.image_tokens;

// The older endpoint.
const plain = { model: "tiny", prompt: ["Once upon", "Two"], max_tokens: 6, temperature: 1, seed: 5, n: 2, logprobs: 2, logit_bias: request.logit_bias };
const texts = await client.completions.create(plain);
result.texts = texts.choices.map((choice) => choice.text);
result.textTokens = texts.choices.map((choice) => choice.logprobs.tokens.length);
result.textsStreamed = texts.choices.map(() => "");
for await (const chunk of await client.completions.create({ ...plain, stream: true })) for (const choice of chunk.choices) result.textsStreamed[choice.index] += choice.text;

const failure = async (ask) => {
  try {
    await ask();
    return "no error";
  } catch (error) {
    return `${error.status} ${error.constructor.name} ${error.code ?? error.param}`;
  }
};
result.badRequest = await failure(() => client.chat.completions.create({ ...request, temperature: -1 }));
result.unauthorized = await failure(() => new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 }).models.list());
result.noSuffix = await failure(() => client.completions.create({ ...plain, suffix: "end" }));
result.noEmbeddings = await failure(() => client.embeddings.create({ model: "tiny", input: "a" }));
result.notFound = await failure(() => client.chat.completions.create({ ...request, model: "gpt-4o" }));

// A stream that is left: the server must notice.
const left = await client.chat.completions.create({ ...request, max_completion_tokens: 7000, stream: true });
for await (const _ of left) break;

console.log(JSON.stringify(result));

// The call of the page as a program makes it.
import type { GivenTensor } from './formats/tensor';

export interface MadeCall {
  origin: string;
  path: string;
  /** The body where it is JSON; null where it is the file. */
  json: string | null;
  given: GivenTensor;
  /** Whether calls need a key. It is never written out: who copies the call has it in a variable. */
  needsKey: boolean;
}

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

function curl({ origin, path, json, given, needsKey }: MadeCall): string {
  const lines = [`curl -sS --fail-with-body ${quoted(origin + path)}`];
  if (needsKey) lines.push(`-H "Authorization: Bearer $BN_KEY"`);
  lines.push(`-H 'Content-Type: ${json === null ? given.file!.mediaType : 'application/json'}'`, `-H 'Accept: application/json'`);
  lines.push(json === null ? `--data-binary ${quoted(`@${given.file!.name}`)}` : `-d ${quoted(json)}`);
  return lines.join(' \\\n  ');
}

function csharp({ origin, path, json, given, needsKey }: MadeCall): string {
  const content = json === null
    ? `new ByteArrayContent(File.ReadAllBytes(${JSON.stringify(given.file!.name)}))\n{\n    Headers = { ContentType = new("${given.file!.mediaType}") },\n}`
    : `new StringContent("""\n    ${json}\n    """, Encoding.UTF8, "application/json")`;
  return [
    'using System.Net.Http.Headers;', ...(json === null ? [] : ['using System.Text;']), '',
    'using var http = new HttpClient();',
    ...(needsKey ? ['http.DefaultRequestHeaders.Authorization = new("Bearer", Environment.GetEnvironmentVariable("BN_KEY"));'] : []),
    'http.DefaultRequestHeaders.Accept.Add(new MediaTypeWithQualityHeaderValue("application/json"));',
    `using var content = ${content};`,
    `using var response = await http.PostAsync(${JSON.stringify(origin + path)}, content);`,
    'var answer = await response.Content.ReadAsStringAsync();',
    'if (!response.IsSuccessStatusCode) throw new HttpRequestException(answer);',
    'Console.WriteLine(answer);',
  ].join('\n');
}

function python({ origin, path, json, given, needsKey }: MadeCall): string {
  return [
    'import json', ...(needsKey ? ['import os'] : []), 'import urllib.request', '',
    json === null ? `body = open(${JSON.stringify(given.file!.name)}, "rb").read()` : `body = b'''${json.replaceAll('\\', '\\\\')}'''`,
    `request = urllib.request.Request(${JSON.stringify(origin + path)}, data=body, headers={`,
    `    "Content-Type": "${json === null ? given.file!.mediaType : 'application/json'}",`,
    '    "Accept": "application/json",',
    ...(needsKey ? ['    "Authorization": f"Bearer {os.environ[\'BN_KEY\']}",'] : []),
    '})',
    'with urllib.request.urlopen(request) as response:',
    '    print(json.load(response))',
  ].join('\n');
}

/** The same call in each language. */
export const snippets: Record<string, (made: MadeCall) => string> = { curl, 'C#': csharp, Python: python };

import { configurationJsonSchema, configurationReference } from '../config/explain.ts';
import type { Answer, Context } from './command.ts';

/** As text it is the bare schema, to be redirected into a file for an editor. */
export async function configSchemaCommand(_context: Context): Promise<Answer> {
  const schema = configurationJsonSchema();
  return {
    document: { outcome: 'complete', configurationSchema: schema },
    lines: [JSON.stringify(schema, null, 2)],
  };
}

export async function configReferenceCommand(_context: Context): Promise<Answer> {
  const text = configurationReference();
  return { document: { outcome: 'complete', reference: text }, lines: [text.trimEnd()] };
}

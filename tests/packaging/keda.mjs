// keda.mjs - validates KEDA's objects, a JSON array on standard input, against the schemas of its own API.
// A member that the schema does not know is an error too: KEDA would leave it out in silence.
import { readFileSync } from "node:fs";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject";
import { TriggerAuthentication } from "@kubernetes-models/keda/keda.sh/v1alpha1/TriggerAuthentication";

const kinds = { ScaledObject, TriggerAuthentication };
const folder = new URL("node_modules/@kubernetes-models/keda/keda.sh/v1alpha1/", import.meta.url);
const known = (kind) => {
    const text = readFileSync(new URL(`${kind}Spec.d.ts`, folder), "utf8");
    return new Set([...text.matchAll(/^\s*"?(\w+)"?\??:/gm)].map((m) => m[1]));
};

let bad = 0;
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
    const kind = object.kind;
    try {
        if (!kinds[kind]) throw new Error(`expected ScaledObject or TriggerAuthentication, found ${kind}`);
        new kinds[kind](object).validate();
        const unknown = Object.keys(object.spec).filter((name) => !known(kind).has(name));
        if (unknown.length) throw new Error(`unknown in spec: ${unknown}`);
    } catch (error) {
        console.error(`${kind} ${object.metadata?.name}: ${error.message}`);
        bad++;
    }
}
process.exit(bad ? 1 : 0);

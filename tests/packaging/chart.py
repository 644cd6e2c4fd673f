"""The chart as clusters would get it: every object valid, every pod safe, every setting one that serve takes, wrong values refused."""
import json, os, subprocess, tempfile, unittest
import kubernetes_validate, yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CHART = os.path.join(ROOT, "packaging/kubernetes")
SECRET = "postgres://u:word@db.example.com:5432/stemforge?sslmode=verify-full"
LEAST = {"image": {"repository": "example.azurecr.io/stemforge"}, "queue": {"secretName": "queue"}, "storage": {"account": "stems"}}
FULL = {
    **LEAST, "identity": {"clientId": "00000000-0000-0000-0000-000000000001"},
    "image": {"repository": "example.azurecr.io/stemforge", "tag": "1", "pullSecrets": ["pull"]},
    "queue": {"secretName": "queue", "kedaKey": "keda", "schema": "music"},
    "workers": {"gpu": {"enabled": True, "minReplicas": 1, "nodeSelector": {"sku": "gpu"}}, "cpu": {"model": "/models/m", "settings": {"MODEL_WEIGHTS": "q8"}}},
    "models": {"claimName": "models"}, "apiKeys": {"secretName": "keys"}, "callbackSecret": {"secretName": "sign"},
    "api": {"ingress": {"enabled": True, "host": "stems.example.com", "tlsSecretName": "tls", "className": "nginx", "annotations": {"a": "b"}}},
    "networkPolicy": {"callbackPorts": [443, 8443], "extraEgress": [{"ports": [{"port": 10000}]}]},
}
PLAIN = {**LEAST, "storage": {"secretName": "azure"}, "keda": {"enabled": False}, "networkPolicy": {"enabled": False}}
VARIANTS = {"least": LEAST, "full": FULL, "plain": PLAIN}
# What Azure workload identity's webhook gives a pod whose label asks for it.
IDENTITY = {"AZURE_CLIENT_ID": "1", "AZURE_TENANT_ID": "2", "AZURE_FEDERATED_TOKEN_FILE": "/token"}


def helm(*args, values):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        yaml.safe_dump(values, f)
        f.flush()
        return subprocess.run([os.environ["HELM"], *args, CHART, "-f", f.name], capture_output=True, text=True)


def render(values):
    out = helm("template", "music", "--namespace", "stems", values=values)
    if out.returncode:
        raise AssertionError(out.stderr)
    return [x for x in yaml.safe_load_all(out.stdout) if x]


def by_kind(objects, kind):
    return {x["metadata"]["name"]: x for x in objects if x["kind"] == kind}


def pods(objects):
    return {name: d["spec"]["template"] for name, d in by_kind(objects, "Deployment").items()}


class Chart(unittest.TestCase):
    def each(self):
        for name, values in VARIANTS.items():
            with self.subTest(name):
                yield render(values)

    def test_helm_finds_nothing_wrong(self):
        for values in VARIANTS.values():
            out = helm("lint", "--strict", values=values)
            self.assertEqual(out.returncode, 0, out.stdout + out.stderr)

    def test_objects_are_what_the_schemas_say(self):
        for objects in self.each():
            keda = [x for x in objects if x["apiVersion"].startswith("keda.sh/")]
            for x in (x for x in objects if x not in keda):
                for version in ("1.30", "1.33", "1.37"):
                    kubernetes_validate.validate(x, version, strict=True)
            self.judge(keda, 0)

    def judge(self, keda, status):
        out = subprocess.run(["node", os.path.join(ROOT, "tests/packaging/keda.mjs")], input=json.dumps(keda), capture_output=True, text=True)
        self.assertEqual(out.returncode, status, out.stderr)

    def test_the_schemas_are_heard(self):
        objects = render(LEAST)
        pod = by_kind(objects, "Deployment")["music-api"]
        pod["spec"]["template"]["spec"]["containers"][0]["readOnly"] = True
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(pod, "1.37", strict=True)
        scaled = by_kind(objects, "ScaledObject")["music-cpu"]
        scaled["spec"]["maxReplicas"] = 3
        self.judge([scaled], 1)

    def test_roles_and_kinds(self):
        self.assertEqual(set(pods(render(LEAST))), {"music-api", "music-cpu"})
        full = render(FULL)
        self.assertEqual(set(pods(full)), {"music-api", "music-cpu", "music-gpu"})
        roles = {name: self.env(pod) for name, pod in pods(full).items()}
        self.assertEqual([roles[n]["ROLE"] for n in ("music-api", "music-cpu", "music-gpu")], ["api", "worker", "worker"])
        self.assertEqual(roles["music-gpu"]["USE_GPU"], "true")
        self.assertNotIn("USE_GPU", roles["music-cpu"])
        gpu = pods(full)["music-gpu"]["spec"]
        self.assertEqual(gpu["containers"][0]["resources"]["limits"]["nvidia.com/gpu"], 1)
        self.assertEqual(gpu["nodeSelector"], {"sku": "gpu"})

    def test_pods_have_no_more_rights_than_they_need(self):
        for objects in self.each():
            for pod in pods(objects).values():
                spec, (container,) = pod["spec"], pod["spec"]["containers"]
                self.assertTrue(spec["securityContext"]["runAsNonRoot"])
                self.assertFalse(spec["automountServiceAccountToken"])
                self.assertEqual(container["securityContext"],
                                 {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}})
                mounts = {m["mountPath"]: m for m in container["volumeMounts"]}
                self.assertLessEqual({"/data", "/tmp"}, set(mounts))
                self.assertTrue(mounts["/run/stemforge"]["readOnly"])
                self.assertEqual({m["name"] for m in mounts.values()}, {v["name"] for v in spec["volumes"]})
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    self.assertIn(container[probe]["httpGet"]["path"], ("/livez", "/readyz"))
                self.assertGreater(spec["terminationGracePeriodSeconds"], int(self.env(pod)["SHUTDOWN_GRACE_SECONDS"]))

    def test_selectors_select(self):
        for objects in self.each():
            labels = {name: pod["metadata"]["labels"] for name, pod in pods(objects).items()}
            def chosen(selector):
                return {name for name, own in labels.items() if selector.items() <= own.items()}
            for name, d in by_kind(objects, "Deployment").items():
                self.assertEqual(chosen(d["spec"]["selector"]["matchLabels"]), {name})
            for name, budget in by_kind(objects, "PodDisruptionBudget").items():
                self.assertEqual(chosen(budget["spec"]["selector"]["matchLabels"]), {name})
            self.assertEqual(chosen(by_kind(objects, "Service")["music"]["spec"]["selector"]), {"music-api"})
            policies = by_kind(objects, "NetworkPolicy")
            if policies:
                self.assertEqual(chosen(policies["music"]["spec"]["podSelector"]["matchLabels"]), set(labels))
                self.assertEqual(chosen(policies["music-api"]["spec"]["podSelector"]["matchLabels"]), {"music-api"})

    def test_workers_scale_from_nothing_with_the_queue(self):
        objects = render(FULL)
        scaled = by_kind(objects, "ScaledObject")
        self.assertEqual(set(scaled), {"music-cpu", "music-gpu"})
        for name, x in scaled.items():
            self.assertEqual(x["spec"]["scaleTargetRef"]["name"], name)
            self.assertNotIn("replicas", by_kind(objects, "Deployment")[name]["spec"])
            (trigger,) = x["spec"]["triggers"]
            self.assertEqual(trigger["metadata"]["targetQueryValue"], self.env(pods(objects)[name])["WORKERS"])
            self.assertIn("music.job", trigger["metadata"]["query"])
        self.assertEqual([scaled[n]["spec"]["minReplicaCount"] for n in ("music-cpu", "music-gpu")], [0, 1])
        (ask,) = by_kind(objects, "TriggerAuthentication").values()
        self.assertEqual(ask["spec"]["secretTargetRef"], [{"parameter": "connection", "name": "queue", "key": "keda"}])
        self.assertEqual(by_kind(render(PLAIN), "Deployment")["music-cpu"]["spec"]["replicas"], 1)

    def test_workload_identity(self):
        objects = render(FULL)
        account = by_kind(objects, "ServiceAccount")["music"]
        self.assertEqual(account["metadata"]["annotations"]["azure.workload.identity/client-id"], FULL["identity"]["clientId"])
        for pod in pods(objects).values():
            self.assertEqual(pod["metadata"]["labels"]["azure.workload.identity/use"], "true")
            self.assertEqual(pod["spec"]["serviceAccountName"], "music")

    def test_secrets_are_references(self):
        for objects in self.each():
            self.assertEqual(by_kind(objects, "Secret"), {})
            for pod in pods(objects).values():
                sources = next(v for v in pod["spec"]["volumes"] if v["name"] == "secrets")["projected"]["sources"]
                there = {"/run/stemforge/" + s["secret"]["items"][0]["path"] for s in sources}
                files = {value for name, value in self.env(pod).items() if name.endswith("_FILE")}
                self.assertEqual(files, there)

    def test_serve_takes_the_settings(self):
        for objects in self.each():
            for pod in pods(objects).values():
                self.check_config(self.env(pod))

    def check_config(self, env):
        """--check-config in the pod's environment, its folders moved into one that is here."""
        with tempfile.TemporaryDirectory() as here:
            os.makedirs(here + "/run/stemforge")
            os.makedirs(here + "/data")
            words = {"queue-url": SECRET, "storage": "UseDevelopmentStorage=true", "api-keys": "one\n", "callback-secret": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"}
            for name, word in words.items():
                with open(f"{here}/run/stemforge/{name}", "w") as f:
                    f.write(word)
            with open(here + "/token", "w") as f:
                f.write("t")
            env = {**env, **(IDENTITY if "AZURE_STORAGE_ACCOUNT" in env else {})}
            env = {name: here + value if value.startswith("/") and name != "MODEL" else value for name, value in env.items()}
            env.pop("USE_GPU", None)  # no GPU is here
            env["MODEL"] = os.path.join(ROOT, "models/stemforge-mini")
            out = subprocess.run([os.path.join(ROOT, "build/stemforge"), "serve", "--check-config"], env=env, capture_output=True, text=True)
            self.assertEqual(out.returncode, 0, out.stderr)
            self.assertNotIn("did you mean", out.stderr)
            self.assertNotIn("word", out.stdout)

    def test_wrong_values_are_refused_by_name(self):
        def changed(path, value):
            values = json.loads(json.dumps(LEAST))
            at = values
            for key in path[:-1]:
                at = at.setdefault(key, {})
            at[path[-1]] = value
            return values
        wrong = [
            (["image", "repository"], "", "/image/repository"), (["queue", "secretName"], "", "/queue/secretName"),
            (["queue", "schema"], "a; drop table job", "/queue/schema"), (["storage", "account"], "", "/storage"),
            (["storage", "secretName"], "both", "/storage"), (["api", "replica"], 3, "/api"), (["workers", "tpu"], {}, "/workers"),
            (["workers", "cpu", "slots"], 0, "/workers/cpu/slots"), (["settings", "log_format"], "json", "log_format"),
            (["settings", "HTTP_THREADS"], 16, "/settings/HTTP_THREADS"), (["settings", "API_KEYS"], "", "/settings/API_KEYS"),
            (["apiKeys", "name"], "keys", "/apiKeys"), (["graceSeconds"], "60", "/graceSeconds"), (["keda", "enable"], False, "/keda"),
        ]
        for path, value, told in wrong:
            with self.subTest(".".join(path)):
                out = helm("template", "music", values=changed(path, value))
                self.assertNotEqual(out.returncode, 0)
                self.assertIn(f"'{told}'", out.stderr)

    @staticmethod
    def env(pod):
        (container,) = pod["spec"]["containers"]
        return {e["name"]: e["value"] for e in container["env"]}


if __name__ == "__main__":
    unittest.main()

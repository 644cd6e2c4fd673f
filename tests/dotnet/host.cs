// host.cs SERVICE KEY SECRET FOLDER - an application around the code of docs/INTEGRATION.md: posts a job, receives its
// callback, stores the stems, and then tries what a stranger may send. Says "ok: ..." for each, and ends with 1 at the first
// thing that is not as it should be.
using System;
using System.IO;
using System.Net;
using System.Net.Http;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.AspNetCore.Mvc;
using Stemforge;

public static class Host
{
    private static StemforgeInbox inbox;
    private static string secret;
    private static volatile Request last; // as it came, to be sent again
    private static byte[] lastBody;

    private static void Check(bool good, string what)
    {
        if (!good) throw new InvalidOperationException(what);
        Console.WriteLine("ok: " + what);
    }

    // What ASP.NET Core does around a controller.
    private static async Task<int> Call(Request request, byte[] body)
    {
        request.Body = new MemoryStream(body);
        var options = new StemforgeCallbackOptions { Secret = secret };
        var controller = new StemforgeCallbackController(inbox, options) { Request = request };
        return ((StatusCodeResult)await controller.Post()).StatusCode;
    }

    private static async Task Serve(HttpListener listener)
    {
        while (true)
        {
            HttpListenerContext x = await listener.GetContextAsync();
            var request = new Request();
            foreach (string name in x.Request.Headers.AllKeys) request.Headers[name] = x.Request.Headers[name];
            using (var body = new MemoryStream())
            {
                await x.Request.InputStream.CopyToAsync(body);
                lastBody = body.ToArray();
            }
            x.Response.StatusCode = await Call(request, lastBody);
            x.Response.Close();
            last = request;
        }
    }

    private static async Task Forge(string header, string value)
    {
        var request = new Request();
        foreach (string name in new[] { "webhook-id", "webhook-timestamp", "webhook-signature" })
            request.Headers[name] = name == header ? value : last.Headers[name];
        Check(await Call(request, lastBody) == 401, "refused: " + header + " " + value);
    }

    private static async Task Run(string[] args)
    {
        var service = new Uri(args[0]);
        string key = args[1], folder = args[3], callback = "http://127.0.0.1:" + args[4] + "/callbacks/stemforge/";
        secret = args[2];
        inbox = new StemforgeInbox(Path.Combine(folder, "inbox"));
        var listener = new HttpListener();
        listener.Prefixes.Add(callback);
        listener.Start();
        Task serving = Serve(listener);
        var http = new HttpClient();
        var client = new StemforgeClient(http, service, key);
        var store = new StemforgeStore(http, service, key, Path.Combine(folder, "stems"));
        var job = new GenerateRequest {
            Id = "dotnet-1", AudioFileId = "song.1", Stems = new[] { "drums", "bass" }, CallbackUrl = callback,
            Parameters = new GenerateParameters { Bpm = 120, Style = "rock", Seconds = 0.5, Seed = 9007199254740991 } };
        Accepted accepted = await client.GenerateAsync(job, CancellationToken.None);
        Check(accepted.Id == job.Id, "accepted");
        Check((await client.GenerateAsync(job, CancellationToken.None)).Id == job.Id, "accepted again");
        for (int i = 0; last == null && !serving.IsCompleted && i < 200; i++) await Task.Delay(50);
        Check(last != null, "called back");
        JobEnded ended = System.Text.Json.JsonSerializer.Deserialize<JobEnded>(lastBody);
        Check(ended.Status == "completed" && ended.Stems.Count == 2, "completed");
        Check(ended.Seed == 9007199254740991, "the seed has 53 bits");
        Check(await Call(last, lastBody) == 204, "a callback that comes twice is taken");
        Check(await store.DrainAsync(inbox, CancellationToken.None) == 1, "and kept once");
        foreach (GeneratedStem stem in ended.Stems)
        {
            string path = Path.Combine(folder, "stems", "song.1", "dotnet-1", stem.Stem + ".wav");
            Check(new FileInfo(path).Length == stem.Size, "stored " + path);
        }
        await Forge("webhook-id", "msg_other");
        await Forge("webhook-timestamp", "1700000000");
        await Forge("webhook-timestamp", "-1");
        await Forge("webhook-timestamp", "9223372036854775807");
        await Forge("webhook-signature", null);
        await Forge("webhook-signature", "v1,AAAA");
        lastBody[5] ^= 1;
        await Forge("none", null);
        try
        {
            job.Id = "dotnet-2";
            job.Parameters.Bpm = 1000;
            await client.GenerateAsync(job, CancellationToken.None);
            Check(false, "a wrong tempo was taken");
        }
        catch (StemforgeException e)
        {
            Check(e.Status == 422 && e.Problem.Contains("/parameters/target_bpm"), "a wrong field is named");
        }
    }

    public static int Main(string[] args)
    {
        try
        {
            Run(args).GetAwaiter().GetResult();
            return 0;
        }
        catch (Exception e)
        {
            Console.WriteLine("FAILED: " + e);
            return 1;
        }
    }
}

// aspnet.cs - the few names of ASP.NET Core that the controller of docs/INTEGRATION.md uses, in place of the framework: the
// .NET runtime that can be installed everywhere has none of it.
using System;
using System.Collections.Generic;
using System.IO;

namespace Microsoft.AspNetCore.Mvc
{
    [AttributeUsage(AttributeTargets.Class)] public sealed class ApiControllerAttribute : Attribute { }
    [AttributeUsage(AttributeTargets.Method)] public sealed class HttpPostAttribute : Attribute { }
    [AttributeUsage(AttributeTargets.Class)] public sealed class RouteAttribute : Attribute
    {
        public RouteAttribute(string template) { Template = template; }
        public string Template { get; }
    }

    public interface IActionResult { }
    public sealed class StatusCodeResult : IActionResult
    {
        public StatusCodeResult(int code) { StatusCode = code; }
        public int StatusCode { get; }
    }

    public sealed class Headers
    {
        private readonly Dictionary<string, string> all = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        public string this[string name]
        {
            get { string v; return all.TryGetValue(name, out v) ? v : null; }
            set { all[name] = value; }
        }
    }

    public sealed class Request
    {
        public Headers Headers { get; } = new Headers();
        public Stream Body { get; set; }
    }

    public abstract class ControllerBase
    {
        public Request Request { get; set; }
        protected IActionResult NoContent() { return new StatusCodeResult(204); }
        protected IActionResult Unauthorized() { return new StatusCodeResult(401); }
    }
}

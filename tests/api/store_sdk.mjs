// store_sdk.mjs - what the official SDK makes of our blobs. One command a run, one line of JSON.
//
//   read CONTAINER KEY FILE     saves the blob; prints size, type, md5, committed blocks
//   write CONTAINER KEY FILE    uploads one for us to read
//   sas                         an account SAS for all blob operations
//   delete CONTAINER
import { readFileSync, writeFileSync } from "node:fs";
import {
  AccountSASPermissions, BlobServiceClient, generateAccountSASQueryParameters,
} from "@azure/storage-blob";

const [verb, container, key, file] = process.argv.slice(2);
const service = BlobServiceClient.fromConnectionString(process.env.SDK_CONNECTION);
const say = (x) => console.log(JSON.stringify(x));
if (verb === "read") {
  const blob = service.getContainerClient(container).getBlockBlobClient(key);
  const data = await blob.downloadToBuffer();
  writeFileSync(file, data);
  const p = await blob.getProperties();
  const blocks = await blob.getBlockList("committed");
  say({
    size: p.contentLength, type: p.contentType,
    md5: p.contentMD5 ? Buffer.from(p.contentMD5).toString("base64") : "",
    blocks: (blocks.committedBlocks ?? []).length,
  });
} else if (verb === "write") {
  const client = service.getContainerClient(container);
  await client.createIfNotExists();
  await client.getBlockBlobClient(key).uploadData(readFileSync(file));
  say({});
} else if (verb === "sas") {
  const sas = generateAccountSASQueryParameters({
    expiresOn: new Date(Date.now() + 3600e3), services: "b", resourceTypes: "sco",
    permissions: AccountSASPermissions.parse("rwdlac"),
  }, service.credential);
  say({ sas: sas.toString() });
} else if (verb === "delete") {
  await service.getContainerClient(container).deleteIfExists();
  say({});
}
